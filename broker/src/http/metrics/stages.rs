//! Stages and models. Series are as many as there are stages and the models that each used last; they end with the stage, or the model.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::page::Page;
use crate::models::{LoadedModel, ModelMeter};
use crate::{GroupInfo, Histogram, Identity, StageMeter, StageSample, StageView};

type Labels<const N: usize> = [(&'static str, String); N];

pub(super) fn by_stage(
    page: &mut Page<'_>,
    stages: &[StageSample],
    listed: &[StageView],
    groups: &[GroupInfo],
) -> fmt::Result {
    type Count = fn(&StageMeter) -> u64;
    type Spread = fn(&StageMeter) -> &Histogram;
    let stage = |sample: &StageSample| [("stage", sample.name.to_string())];
    let info = stages.iter().map(|sample| {
        let [name, version] = model(&sample.identity);
        let digest = ("digest", sample.identity.digest.clone());
        ([("stage", sample.name.to_string()), name, version, digest], 1_u64)
    });
    page.gauges("stage_info", "The model that a stage uses now", info)?;
    let outcomes: [(&str, Count); 3] = [
        ("ok", |meter| meter.succeeded.load(Relaxed)),
        ("failed", |meter| meter.failed.load(Relaxed)),
        ("dead", |meter| meter.dead.load(Relaxed)),
    ];
    let records = meters(stages).flat_map(|(labels, meter)| {
        outcomes.map(|(outcome, count)| {
            let [stage, name, version] = labels.clone();
            ([stage, name, version, ("outcome", outcome.to_owned())], count(meter))
        })
    });
    page.counters(
        "stage_records",
        "Records with an output (ok), attempts that failed (failed), dead letters (dead)",
        records,
    )?;
    let counters: [(&str, &str, Count); 2] = [
        ("stage_retries", "Attempts that failed and are made again", |meter| {
            meter.retried.load(Relaxed)
        }),
        ("stage_batches", "Batches that were committed", |meter| meter.batches.load(Relaxed)),
    ];
    for (name, help, count) in counters {
        page.counters(name, help, meters(stages).map(|(labels, meter)| (labels, count(meter))))?;
    }
    let spreads: [(&str, &str, Spread); 3] = [
        ("stage_batch_size", "Records of a batch that was committed", |meter| &meter.batch_size),
        ("stage_queue_duration_seconds", "From a record's arrival to its first attempt", |meter| {
            &meter.queue_seconds
        }),
        ("stage_batch_duration_seconds", "From the lease of a batch to its outcomes", |meter| {
            &meter.batch_seconds
        }),
    ];
    for (name, help, spread) in spreads {
        page.histograms(name, help, meters(stages).map(|(labels, meter)| (labels, spread(meter))))?;
    }
    page.counters(
        "stage_abandoned_calls",
        "Calls of a model that did not return in time",
        stages.iter().map(|sample| (stage(sample), sample.abandoned)),
    )?;
    by_stage_listed(page, listed, groups)
}

/// Also of stages that do not run: what piles up before them is what one wants to be told of.
fn by_stage_listed(page: &mut Page<'_>, listed: &[StageView], groups: &[GroupInfo]) -> fmt::Result {
    let states = listed.iter().flat_map(|view| {
        StageView::STATES.map(|state| {
            let labels = [("stage", view.name.to_string()), ("state", state.to_owned())];
            (labels, u64::from(view.state() == state))
        })
    });
    page.gauges("stage_state", "1 for the state that a stage is in, 0 for the others", states)?;
    let outdated = |view: &StageView| u64::from(view.cannot_follow.is_some());
    let label = |view: &StageView| [("stage", view.name.to_string())];
    page.gauges(
        "stage_cannot_follow",
        "1 when a stage keeps a model although its reference means another one, or none",
        listed.iter().map(|view| (label(view), outdated(view))),
    )?;
    let lags: Vec<_> = listed
        .iter()
        .filter_map(|view| {
            let of = |group: &&GroupInfo| {
                group.group == view.name && group.topic.as_str() == view.config.input
            };
            Some((label(view), groups.iter().find(of)?))
        })
        .collect();
    super::lags(page, "stage", &lags)
}

fn meters(stages: &[StageSample]) -> impl Iterator<Item = (Labels<3>, &StageMeter)> {
    stages.iter().flat_map(|sample| {
        sample.meters.iter().map(|meter| {
            let [name, version] = model(&meter.identity);
            ([("stage", sample.name.to_string()), name, version], &**meter)
        })
    })
}

fn model(identity: &Identity) -> Labels<2> {
    [("model", identity.name.clone()), ("version", identity.version.clone())]
}

pub(super) fn by_model(page: &mut Page<'_>, models: &[LoadedModel]) -> fmt::Result {
    type Spread = fn(&ModelMeter) -> &Histogram;
    let info = models.iter().map(|loaded| {
        let [name, version] = model(&loaded.identity);
        ([name, version, ("digest", loaded.identity.digest.clone())], 1_u64)
    });
    page.gauges("model_info", "A model that is loaded", info)?;
    page.gauges(
        "model_load_duration_seconds",
        "How long it took to load a model and to warm it up",
        models.iter().map(|loaded| (model(&loaded.identity), loaded.took.as_secs_f64())),
    )?;
    let spreads: [(&str, &str, Spread); 4] = [
        ("inference_batch_size", "Payloads that ran together with a payload", |meter| {
            &meter.batch_size
        }),
        ("inference_preprocess_duration_seconds", "Making a payload ready", |meter| {
            &meter.pre_seconds
        }),
        ("inference_compute_duration_seconds", "The run that a payload was part of", |meter| {
            &meter.compute_seconds
        }),
        ("inference_postprocess_duration_seconds", "Making an answer of the outputs", |meter| {
            &meter.post_seconds
        }),
    ];
    for (name, help, spread) in spreads {
        let series = models
            .iter()
            .filter_map(|loaded| Some((model(&loaded.identity), spread(loaded.meter.as_deref()?))));
        page.histograms(name, help, series)?;
    }
    Ok(())
}
