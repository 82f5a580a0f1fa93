"""`python -m deploy.kafka.acls` writes the ACL files; `… apply FILE…` brings them to `RUNTIDE_KAFKA_BOOTSTRAP`."""

import asyncio
import sys

from runtide_schemas.cluster import ClusterError

from deploy.kafka.acls import HERE, files
from deploy.kafka.acls.apply import allow, of_file
from shared.messaging.topics import admin_or_reason
from shared.settings import KafkaSettings


async def apply(names: list[str]) -> None:
    settings = KafkaSettings()
    wanted = {name: of_file(name, settings.prefix) for name in names}
    async with admin_or_reason(settings) as admin:
        for name, rights in wanted.items():
            await allow(admin, rights)
            print(f"{name}: {len(rights)} rights")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            for name, text in files().items():
                (HERE / name).write_text(text, encoding="utf-8")
        case ["apply", first, *others]:
            try:
                asyncio.run(apply([first, *others]))
            except ClusterError as error:
                sys.exit(str(error))
        case _:
            sys.exit("usage: python -m deploy.kafka.acls [apply FILE…]   (submission, …, team:NAME)")
