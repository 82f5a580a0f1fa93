"""Settings that submission owns."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import PrefectSettings, ServiceSettings


class SubmissionSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SUBMISSION_")

    prefect: PrefectSettings = Field(default_factory=PrefectSettings)

    http_port: int = 8101
    keep_requests_days: float = Field(400.0, ge=30, description="how long a request is kept after its last change")
    launches_per_deployment: int = Field(5, ge=1, description="calls to Prefect at once for one deployment")
    launches_at_once: int = Field(16, ge=1, description="calls to Prefect at once, of all deployments")
    launch_lease_seconds: float = Field(60.0, description="how long a launch belongs to one process")
    deployment_cache_seconds: float = Field(10.0, description="how long a deployment's schema is believed")
    run_token_hours: float = Field(72.0, gt=0, description="how long a run's own token holds, from its launch on")
