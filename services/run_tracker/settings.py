"""What run_tracker itself is told by its environment: `RUN_TRACKER_<NAME>`, the unit in the name."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import PrefectSettings, S3Settings, ServiceSettings


@dataclass(frozen=True, slots=True)
class Policy:
    """How long the tracker waits, and where runs leave their outputs: all that handlers need of the settings."""

    seal_seconds: float = 30.0
    cancel_unconfirmed_seconds: float = 60.0
    progress_interval_seconds: float = 0.25
    bucket: str = "runs"


class RunTrackerSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="RUN_TRACKER_")
    name: ClassVar[str] = "run_tracker"

    prefect: PrefectSettings = Field(default_factory=PrefectSettings)
    s3: S3Settings = Field(default_factory=S3Settings)

    http_port: int = 8102
    seal_seconds: float = Field(30.0, gt=0, description="how long `completed` waits for the flow's last report")
    cancel_unconfirmed_seconds: float = Field(60.0, gt=0, description="after which an unanswered cancel is escalated")
    progress_interval_seconds: float = Field(
        0.25, gt=0, description="least time between two progress messages of a run"
    )
    sweep_seconds: float = Field(15.0, gt=0, description="between two sweeps of open runs")
    look_around_seconds: float = Field(60.0, gt=0, description="between two looks for runs that nobody requested")
    recheck_first_seconds: float = Field(60.0, gt=0, description="first look at a run after its end")
    recheck_last_seconds: float = Field(600.0, gt=0, description="last look at a run after its end")
    gone_after_seconds: float = Field(30.0, ge=0, description="between the two absences that make a run lost")
    heartbeat_seconds: float = Field(
        30.0, gt=0, description="the longest time between two heartbeats of any flow; three missed are unresponsive"
    )
    mass_loss_runs: int = Field(10, ge=0, description="more absent runs than this, and than a fifth, are no loss")
    presigned_seconds: int = Field(300, ge=1, le=604800, description="life of a link to an artifact, or to put one")
    keep_runs_days: float = Field(400.0, ge=30, description="how long a run is kept after its end")
    keep_history_days: float = Field(90.0, ge=30, description="how long its history, states and reports are")
    keep_unknown_days: float = Field(7.0, gt=0, description="how long states of flow runs nobody knows are kept")

    def policy(self) -> Policy:
        return Policy(
            seal_seconds=self.seal_seconds,
            cancel_unconfirmed_seconds=self.cancel_unconfirmed_seconds,
            progress_interval_seconds=self.progress_interval_seconds,
            bucket=self.s3.bucket,
        )


def own(settings: ServiceSettings) -> RunTrackerSettings:
    """The context's settings, known for what they are."""
    assert isinstance(settings, RunTrackerSettings)
    return settings
