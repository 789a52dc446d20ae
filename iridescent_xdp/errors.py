# SPDX-License-Identifier: GPL-2.0-only
"""Every error that a user can meet, with its exit code and its cure.

IridescentError
├── ConfigError           2  the operator file or a command line is wrong
├── TemplateError         3  a declaration in a template breaks a rule
├── ToolchainError        3  a variant does not compile
├── VerifierError         3  the kernel's verifier refuses a program (keeps the log)
├── PreflightError        4  a variant behaves differently from the generic one
├── MissingFeatureError   5  a privilege, package or kernel feature is missing
├── AttachError           6  the interface cannot be taken (foreign program, MTU, no such name)
├── StateError            6  pinned state is missing, damaged, or of another shape
├── TrafficError          7  a packet source cannot be read or sent
└── MeasurementError      8  a measurement failed or stayed inconclusive
"""

from __future__ import annotations


class IridescentError(Exception):
    """Base of all errors; ``str()`` is one line, the cause and then the cure."""

    exit_code = 1

    def __init__(self, message: str, *, cure: str = "") -> None:
        self.message = message
        self.cure = cure
        super().__init__(f"{message} ({cure})" if cure else message)


class ConfigError(IridescentError, ValueError):
    """The operator file or the command line breaks a rule."""

    exit_code = 2


class TemplateError(IridescentError, ValueError):
    """A declaration in a template is wrong; the message names file, line and rule."""

    exit_code = 3


class ToolchainError(IridescentError, RuntimeError):
    """A variant could not be compiled."""

    exit_code = 3


class VerifierError(IridescentError, OSError):
    """The kernel refused a program; ``log`` is the verifier's whole log."""

    exit_code = 3

    def __init__(self, message: str, *, cure: str = "", log: str = "") -> None:
        super().__init__(message, cure=cure)
        self.log = log

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message


class PreflightError(IridescentError, AssertionError):
    """A variant differs from the generic one on a packet."""

    exit_code = 4


class MissingFeatureError(IridescentError, OSError):
    """This machine lacks a privilege, a package or a kernel feature."""

    exit_code = 5

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message


class AttachError(IridescentError, OSError):
    """The interface cannot be taken; it is as it was."""

    exit_code = 6

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message


class StateError(IridescentError, OSError):
    """Pinned state is missing, damaged, or has another shape than the template's."""

    exit_code = 6

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message


class TrafficError(IridescentError, ValueError):
    """A traffic source is unreadable or cannot be sent."""

    exit_code = 7


class MeasurementError(IridescentError, RuntimeError):
    """A measurement failed or did not reach a conclusion; it is told, never edited."""

    exit_code = 8
