"""Settings that notifier owns."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import CentrifugoSettings, PrefectUiSettings, ServiceSettings

BUILT_PAGES = Path(__file__).resolve().parent.parent.parent / "dashboard" / "dist"


class NotifierSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="NOTIFIER_")

    centrifugo: CentrifugoSettings = Field(default_factory=CentrifugoSettings)
    prefect_ui: PrefectUiSettings = Field(default_factory=PrefectUiSettings)

    http_port: int = 8104
    dashboard_dir: Path = Field(BUILT_PAGES, description="the built pages")
    connection_token_seconds: int = Field(900, ge=30, description="how long a connection token holds")
    subscription_token_seconds: int = Field(900, ge=30, description="how long a subscription token holds")
    keep_activities_days: float = Field(90.0, ge=90, description="how long activities are kept; their topic: 90 days")
    keep_owners_days: float = Field(400.0, ge=30, description="how long it is known whose run is; instances: for ever")
    push_timeout_seconds: float = 3.0
    push_batch: int = Field(100, ge=1, le=1000, description="publications in one call to Centrifugo")
