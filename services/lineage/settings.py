"""What lineage reads from its environment."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class LineageSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="LINEAGE_")
    name: ClassVar[str] = "lineage"

    http_port: int = 8103
    park_deadline_hours: float = Field(24.0, gt=0, description="how long a request waits that names no wait_until")
    backfill_dates_max: int = Field(10_000, ge=1, description="how many dates one backfill may have")
    keep_requests_days: float = Field(400.0, ge=30, description="how long a request is known after its end")
    keep_runs_days: float = Field(400.0, ge=30, description="how long a run is known on which nothing rests any more")
    keep_plans_days: float = Field(90.0, gt=0, description="how long a plan that was shown can be run or read")
    keep_status_events_days: float = Field(90.0, gt=0, description="how long `why` knows the past")
