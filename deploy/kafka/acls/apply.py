"""Bring the lines of the ACL files to a cluster, as an administrator: what `kafka-acls.sh` does with each of them.

The fact not to break: rights are only added. What a file no longer says is taken away by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, CreateAclsRequestStruct
from runtide_schemas.cluster import ClusterError

from deploy.kafka.acls import HERE

# Kafka's numbers (org.apache.kafka.common.acl and .resource).
_RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
_PATTERNS = {"literal": 3, "prefixed": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10, "IdempotentWrite": 12}
_ALLOW = 3


class Right(NamedTuple):
    """One principal may do one thing with one resource, or with all whose names begin so."""

    principal: str
    operation: str
    resource: str  # topic, group or cluster
    name: str
    pattern: str


def rights(text: str, *, prefix: str = "", principal: str | None = None) -> list[Right]:
    """What an ACL file says, with the prefix of this cluster, and for another principal where one is named."""
    found = []
    for line in text.splitlines():
        [whom] = re.findall(r"--allow-principal User:(\S+)", line)
        pattern = (re.findall(r"--resource-pattern-type (\S+)", line) or ["literal"])[0]
        named = [(resource, prefix + name) for resource, name in re.findall(r"--(topic|group) (\S+)", line)]
        if line.endswith("--cluster"):
            named.append(("cluster", "kafka-cluster"))
        for operation in re.findall(r"--operation (\S+)", line):
            found += [Right(principal or whom, operation, resource, name, pattern) for resource, name in named]
    return found


def of_file(name: str, prefix: str) -> list[Right]:
    """`lineage`, or `team:research` for the lines of team with another principal."""
    file, _, principal = name.partition(":")
    path = HERE / f"{file}.acl"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in HERE.glob("*.acl")))
        raise ClusterError(f"no ACL file {file!r}; there are {known}, and team:NAME")
    return rights(path.read_text(encoding="utf-8"), prefix=prefix, principal=principal or None)


async def allow(admin: AIOKafkaAdminClient, wanted: Sequence[Right]) -> None:
    """Raises: ClusterError with what Kafka said, KafkaError."""
    answer = await admin._send_to_controller(_CreateAcls(wanted))
    problems = {text or for_code(code).__name__ for code, text in answer.creation_responses if code}
    if problems:
        raise ClusterError(f"Kafka did not take the rights: {'; '.join(sorted(problems))}")


class _CreateAcls(CreateAclsRequest):  # type: ignore[misc]
    """aiokafka's, for more than one."""

    def __init__(self, wanted: Sequence[Right]) -> None:
        self._wanted = wanted

    def build(self, request_struct_class: type[CreateAclsRequestStruct]) -> Any:
        return request_struct_class(list(self._creations()))

    def _creations(self) -> Iterator[tuple[int, str, int, str, str, int, int]]:
        for one in self._wanted:
            principal, operation = f"User:{one.principal}", _OPERATIONS[one.operation]
            yield _RESOURCES[one.resource], one.name, _PATTERNS[one.pattern], principal, "*", operation, _ALLOW
