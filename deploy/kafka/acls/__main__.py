"""Write the ACL files: `python -m deploy.kafka.acls`."""

from deploy.kafka.acls import HERE, files

if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")
