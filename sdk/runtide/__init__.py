"""Runtide: publish run requests, follow them, report from inside a flow.

Names are imported when they are first used: flow code that only reports does not load the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtide.artifacts import Artifact as Artifact
    from runtide.client import Runtide as Runtide
    from runtide.errors import ApiError as ApiError
    from runtide.errors import CommandConflict as CommandConflict
    from runtide.errors import ConfigurationError as ConfigurationError
    from runtide.errors import InvalidCommand as InvalidCommand
    from runtide.errors import PlatformInvalid as PlatformInvalid
    from runtide.errors import RegistrationRefused as RegistrationRefused
    from runtide.errors import RunCancelled as RunCancelled
    from runtide.errors import RunEnded as RunEnded
    from runtide.errors import RunExpired as RunExpired
    from runtide.errors import RunFailed as RunFailed
    from runtide.errors import RunRefused as RunRefused
    from runtide.errors import RuntideError as RuntideError
    from runtide.errors import Unavailable as Unavailable
    from runtide.errors import UpstreamNotReady as UpstreamNotReady
    from runtide.errors import WaitTimedOut as WaitTimedOut
    from runtide.following import Update as Update
    from runtide.platform import Platform as Platform
    from runtide.runs import Result as Result
    from runtide.runs import Run as Run
    from runtide.settings import ClientSettings as ClientSettings

_MODULE_OF = {
    "Artifact": "artifacts",
    "Runtide": "client",
    "ApiError": "errors",
    "CommandConflict": "errors",
    "ConfigurationError": "errors",
    "InvalidCommand": "errors",
    "PlatformInvalid": "errors",
    "RegistrationRefused": "errors",
    "RunCancelled": "errors",
    "RunEnded": "errors",
    "RunExpired": "errors",
    "RunFailed": "errors",
    "RunRefused": "errors",
    "RuntideError": "errors",
    "Unavailable": "errors",
    "UpstreamNotReady": "errors",
    "WaitTimedOut": "errors",
    "Update": "following",
    "Platform": "platform",
    "Result": "runs",
    "Run": "runs",
    "ClientSettings": "settings",
}

__all__ = [
    "ApiError",
    "Artifact",
    "ClientSettings",
    "CommandConflict",
    "ConfigurationError",
    "InvalidCommand",
    "Platform",
    "PlatformInvalid",
    "RegistrationRefused",
    "Result",
    "Run",
    "RunCancelled",
    "RunEnded",
    "RunExpired",
    "RunFailed",
    "RunRefused",
    "Runtide",
    "RuntideError",
    "Unavailable",
    "Update",
    "UpstreamNotReady",
    "WaitTimedOut",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'runtide' has no attribute {name!r}")
    return getattr(import_module(f"runtide.{_MODULE_OF[name]}"), name)
