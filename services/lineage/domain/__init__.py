"""What is true of lineage without Kafka, PostgreSQL and clock; sees only `runtide_schemas.vocabulary`."""
