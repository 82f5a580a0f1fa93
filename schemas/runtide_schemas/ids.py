"""Ids are computed, never asked for: uuid5 in the namespace `RUNTIDE`, the same in every service and every client."""

import re
from typing import NewType
from uuid import NAMESPACE_URL, UUID, uuid5

Tenant = NewType("Tenant", str)
InstanceName = NewType("InstanceName", str)
CommandId = NewType("CommandId", str)
RunId = NewType("RunId", UUID)
InstanceId = NewType("InstanceId", UUID)
VersionId = NewType("VersionId", UUID)
RestatementId = NewType("RestatementId", UUID)

RUNTIDE = uuid5(NAMESPACE_URL, "https://runtide.example/ns")

TENANT_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
UUID_PATTERN = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
COMMAND_ID_MAX_LENGTH = 200

_TENANT = re.compile(TENANT_PATTERN[1:-1])
_NAME = re.compile(NAME_PATTERN[1:-1])
_UUID = re.compile(UUID_PATTERN[1:-1])


def is_tenant(text: str) -> bool:
    return _TENANT.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """The canonical form only (8-4-4-4-12): anything else is a name."""
    return _UUID.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """A name that an instance may be registered under."""
    return _NAME.fullmatch(text) is not None and not is_uuid(text)


def instance_id_of(tenant: str, name_or_uuid: str) -> InstanceId:
    """A computation, never a look-up: a text that is not a UUID is a name and stands for its uuid5."""
    if is_uuid(name_or_uuid):
        return InstanceId(UUID(name_or_uuid))
    return InstanceId(uuid5(RUNTIDE, f"{tenant}/{name_or_uuid}"))


def run_id_of(tenant: str, command_id: str) -> RunId:
    return RunId(uuid5(RUNTIDE, f"{tenant}/{command_id}"))


def adopted_run_id(flow_run_id: UUID | str) -> RunId:
    """Of a run that nobody requested."""
    return RunId(uuid5(RUNTIDE, str(flow_run_id).lower()))


def version_id_of(run_id: UUID, attempt: int) -> VersionId:
    return VersionId(uuid5(RUNTIDE, f"{run_id}/{attempt}"))


def restatement_id_of(tenant: str, command_id: str) -> RestatementId:
    """Of a `version.supersede`, so that the same command twice is one restatement."""
    return RestatementId(uuid5(RUNTIDE, f"{tenant}/restatements/{command_id}"))
