"""Tells what Inspect reads in the logs below a folder, as JSON on stdout."""

import json
import sys

from inspect_ai import score
from inspect_ai.log import (
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
    read_eval_log_sample_summaries,
    read_eval_log_samples,
    recompute_metrics,
    write_eval_log,
)
from inspect_ai.scorer import SampleScore, accuracy, match, mean, stderr


def metrics(log):
    return {m.name: m.value for s in log.results.scores for m in s.metrics.values()}


def over_all(log, metric):
    scores = [
        SampleScore(score=score, sample_id=s.id, sample_metadata={**s.metadata, "of": str(s.id)})
        for s in log.samples
        for score in (s.scores or {}).values()
    ]
    return float(metric(scores))


def told(sample):
    message = sample.messages[-1]
    score = next(iter(sample.scores.values())) if sample.scores else None
    return {
        "id": sample.id,
        "epoch": sample.epoch,
        "input": sample.input,
        "choices": sample.choices,
        "target": sample.target,
        "messages": [[m.role, m.content] for m in sample.messages],
        "calls": [[c.function, c.arguments, bool(c.parse_error)] for c in message.tool_calls or []],
        "completion": sample.output.completion,
        "stop": sample.output.stop_reason,
        "tokens": [sample.output.usage.input_tokens, sample.output.usage.output_tokens],
        "value": score and score.value,
        "answer": score and score.answer,
        "explanation": score and score.explanation,
        "grades": score and score.metadata,
        "metadata": sample.metadata,
        "error": sample.error and sample.error.message,
    }


def report(info):
    header = read_eval_log(info, header_only=True)
    assert header.samples is None
    log = read_eval_log(info)
    samples = {(str(s.id), s.epoch): told(s) for s in log.samples}
    assert len(samples) == len(log.samples)
    # One by one, by id and epoch, by uuid, streamed, with attachments resolved: always the same.
    for s in log.samples:
        alone = read_eval_log_sample(info, id=s.id, epoch=s.epoch)
        assert alone == s and told(alone) == told(s)
        assert read_eval_log_sample(info, uuid=s.uuid) == s
        assert read_eval_log_sample(info, id=str(s.id), epoch=s.epoch, resolve_attachments=True) == s
    streamed = list(read_eval_log_samples(info, all_samples_required=True))
    assert {s.uuid for s in streamed} == {s.uuid for s in log.samples}
    # Summaries as Inspect would have made them, but for the words of a cut.
    summaries = read_eval_log_sample_summaries(info)
    assert [(s.id, s.epoch) for s in summaries] == [(s.id, s.epoch) for s in header_order(info, log)]
    own = {s.uuid: s.summary() for s in log.samples}
    differing = [
        [str(s.id), key]
        for s in summaries
        for key in s.model_dump()
        if getattr(s, key) != getattr(own[s.uuid], key)
    ]
    # Written by Inspect and read again, it is the same log.
    copy = f"{info.name}.json".removeprefix("file://")
    write_eval_log(log, copy)
    again = read_eval_log(copy)
    assert again.samples == log.samples and again.results == log.results and again.eval == log.eval
    before = metrics(log)
    kept = log.results.model_copy(deep=True)
    recompute_metrics(log)
    return {
        "task": info.task,
        "status": header.status,
        "model": header.eval.model,
        "created": header.eval.created,
        "dataset": header.eval.dataset.model_dump(exclude_none=True),
        "config": header.plan.config.model_dump(exclude_none=True),
        "usage": {m: u.total_tokens for m, u in header.stats.model_usage.items()},
        "counts": [
            kept.total_samples,
            kept.completed_samples,
            kept.scores[0].scored_samples,
            kept.scores[0].unscored_samples,
        ],
        # As texts: readers of JSON may round the last digit.
        "metrics": {name: repr(value) for name, value in before.items()},
        "recomputed": metrics(log),
        "by_hand": {
            "accuracy": over_all(log, accuracy()),
            "mean": over_all(log, mean()),
            "stderr": over_all(log, stderr(cluster="of")),
        },
        "reductions": [[r.scorer, len(r.samples)] for r in read_eval_log(info).reductions or []],
        "summaries_differ": differing,
        "samples": [told(s) for s in log.samples],
    }


def header_order(info, log):
    """Samples in the order in which they were written."""
    by_id = {s.uuid: s for s in log.samples}
    return [by_id[s.uuid] for s in read_eval_log_sample_summaries(info)]


def main(folder):
    logs = list_eval_logs(folder, formats=["eval"])
    reports = {info.name.split("/")[-2]: report(info) for info in logs}
    numbers = next(info for info in logs if "/numbers/" in info.name)
    rescored = score(read_eval_log(numbers), match(numeric=True), model="mockllm/model", action="overwrite", display="none")
    print(json.dumps({"logs": reports, "rescored": metrics(rescored)}))


main(sys.argv[1])
