"""InferenceRun: what the model expects of each stock over the next month."""

import time
from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="run-inference")
def run_inference(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    sessions: int = 21,
    instance: str = "return-model",
    prices_instance: str = "prices",
    signal_instance: str = "momentum",
) -> None:
    """Predicts the newest `sessions` sessions; their targets are not known yet, so nothing was trained on them."""
    import numpy as np
    import pandas as pd
    from scipy.special import ndtr

    from examples.quant.features import FEATURES, HORIZON, ranked, raw_features
    from examples.quant.model import Model

    if not 1 <= sessions <= HORIZON:
        raise ValueError(f"sessions is {sessions}, allowed are 1 to {HORIZON}: earlier ones were trained on")
    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(5, step="read")
        model = Model.from_json(catalog.document(instance, "training", "model"))
        run.read("training")
        prices = catalog.frame(prices_instance, "refresh", "prices")
        run.read("prices")
        signal = catalog.frame(signal_instance, "refresh", "signal")
        run.read("momentum")
        run.progress(40, step="features")
        features = ranked(raw_features(prices.iloc[-300:], signal))
        rows = pd.DataFrame({name: features[name].iloc[-sessions:].stack() for name in FEATURES}).dropna()
        run.progress(70, step="predict", detail=f"{len(rows)} predictions")
        began = time.perf_counter()
        prediction = model.predict(rows)
        latency_ms = (time.perf_counter() - began) * 1000
        confidence = ndtr(np.abs(prediction) / model.residual_std)
        predictions = pd.DataFrame({"prediction": prediction, "confidence": confidence}, index=rows.index)
        predictions.index.names = ["date", "stock"]
        run.progress(90, step="write")
        ref = run.artifact("predictions", predictions.reset_index()).ref
        digest, last = digest_of(predictions), prices.index[-1].date()
        run.complete(
            metrics={
                "num_predictions": len(predictions),
                "mean_prediction": prediction.mean(),
                "std_prediction": prediction.std(),
                "confidence_mean": confidence.mean(),
                "latency_ms": latency_ms,
            },
            last_data_date=last,
            digest=digest,
            rows_processed=len(predictions),
        )
        if mode != "preview":
            refs = {"predictions": ref}
            catalog.publish(run, instance, "inference", refs, digest=digest, last_data_date=last.isoformat())
