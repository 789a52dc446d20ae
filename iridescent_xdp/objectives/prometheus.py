# SPDX-License-Identifier: GPL-2.0-only
"""Objective ``prometheus``: an instant query to a Prometheus server gives one number.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
The server is asked directly, whatever proxies the environment names.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

from iridescent_xdp.config.objective import PrometheusConfig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.objectives.base import Turn
from iridescent_xdp.objectives.outside import OutsideObjective, number_of

PATH = "/api/v1/query"
MOST_BYTES = 1 << 20
CHUNK = 1 << 14


class Prometheus(OutsideObjective):
    """What the operator's query gives, in the operator's unit."""

    name = "prometheus"

    def __init__(self, config: PrometheusConfig) -> None:
        super().__init__(config)
        base = config.url.rstrip("/").removesuffix(PATH)
        self._url = f"{base}{PATH}?{urlencode({'query': config.query})}"
        self._base = base
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def measure(self, turn: Turn) -> float:  # noqa: ARG002  what is live is not the server's business
        """Ask once."""
        deadline = time.monotonic() + self.timeout_s
        try:
            with self._opener.open(self._url, timeout=self.timeout_s) as response:
                body = self._read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                told = _complaint(error.read(MOST_BYTES))
            raise MeasurementError(f"{self._base} answers {error.code}{told}") from error
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            raise MeasurementError(f"{self._base} cannot be asked: {cause}") from error
        return number_of(self._sample(body), f"the query to {self._base}")

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        """The whole answer; a socket's time-out counts from byte to byte, this one does not."""
        body = b""
        while more := response.read1(CHUNK):
            body += more
            if len(body) > MOST_BYTES:
                raise MeasurementError(f"{self._base} answers more than {MOST_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise MeasurementError(
                    f"{self._base} took longer than timeout_s = {self.timeout_s:g}",
                    cure="raise timeout_s",
                )
        return body

    def _sample(self, body: bytes) -> str:
        """The value of the answer's only sample, as the text that Prometheus sends."""
        answer = _json(body)
        if answer.get("status") != "success":
            raise MeasurementError(f"{self._base} does not answer the query{_complaint(body)}")
        data = _table(answer.get("data"))
        kind, result = data.get("resultType"), data.get("result")
        if kind == "vector" and isinstance(result, list):
            if len(result) != 1:
                raise MeasurementError(
                    f"the query must give one series, got {len(result)}",
                    cure="aggregate, for example with max() or sum()",
                )
            result = _table(result[0]).get("value")
        elif kind != "scalar":
            raise MeasurementError(f"the query must give a vector or a scalar, got {kind}")
        if isinstance(result, list) and len(result) == 2:
            return str(result[1])
        raise MeasurementError(f"{self._base} does not speak the API of Prometheus")


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(body: bytes) -> dict[str, Any]:
    try:
        return _table(json.loads(body))
    except ValueError:  # no JSON, no UTF-8
        return {}


def _complaint(body: bytes) -> str:
    """What Prometheus says is wrong, if it says so."""
    told = _json(body).get("error")
    return f": {told}" if isinstance(told, str) else ""
