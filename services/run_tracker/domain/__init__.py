"""What is true of a run without Kafka, PostgreSQL, network and clock."""
