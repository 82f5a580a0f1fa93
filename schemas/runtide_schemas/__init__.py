"""The contract of Runtide: vocabulary, envelope, topics and messages. pydantic only."""
