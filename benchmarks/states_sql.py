"""The statements of P1's floors, on run_tracker's own tables."""

HEADERS = (
    '{"ce_specversion":"1.0","ce_id":"%s","ce_type":"%s","ce_source":"/runtide/run_tracker","ce_time":"%s",'
    '"content-type":"application/json","ce_subject":"%s","ce_correlationid":"%s","ce_causationid":"%s",'
    '"traceparent":"%s"}'
)
MOVE = """
update consumer_offsets o set next_offset = b.last + 1
from unnest($3::int[], $4::bigint[], $5::bigint[]) as b (partition, first, last)
where o.consumer = $1 and o.topic = $2 and o.partition = b.partition and o.next_offset = b.first
returning o.partition
"""
KEEP = """
insert into observations
    (flow_run_id, state_id, state_at, state_type, state_name, state_message, run_count, start_time, gone, source)
select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::int[],
    $8::timestamptz[], $9::boolean[], $10::text[])
on conflict do nothing
returning flow_run_id, state_id
"""
LOAD = """
select run_id, tenant, run_type, instance_id, instance_name, flow_kind, trigger, mode, parameters, actor,
    orchestrator_run_id, state_id, state_at, state_type, state_name, state_message, state_status, other_status,
    other_at, other_id, run_count, first_running_at, status, sub_state, previous_status, progress_pct, started_at,
    ended_at, duration_seconds, outputs, outputs_ref, knowledge_time, occurred_at, seq, terminal_seq,
    said_progress_at, ended_seen_at
from runs where orchestrator_run_id = any($1::uuid[]) order by run_id for update
"""
_TYPES = {
    "state_id": "uuid", "state_at": "timestamptz", "state_type": "text", "state_name": "text", "state_message": "text",
    "state_status": "text", "other_status": "text", "other_at": "timestamptz", "other_id": "uuid", "run_count": "int",
    "first_running_at": "timestamptz", "status": "text", "sub_state": "text", "previous_status": "text",
    "progress_pct": "double precision", "started_at": "timestamptz", "ended_at": "timestamptz",
    "duration_seconds": "double precision", "outputs": "text", "outputs_ref": "text", "knowledge_time": "timestamptz",
    "occurred_at": "timestamptz", "seq": "bigint", "terminal_seq": "bigint", "said_progress_at": "timestamptz",
    "ended_seen_at": "timestamptz",
}  # fmt: skip
CHANGED = tuple(_TYPES)
_HISTORY = {
    "run_id": "uuid", "entry": "text", "at": "timestamptz", "source": "text", "status": "text", "sub_state": "text",
    "attempt": "int", "detail": "text", "message": "text", "seq": "bigint",
}  # fmt: skip
_OUTBOX = {"topic": "text", "key": "bytea", "payload": "bytea", "headers": "json"}


def _unnest(types: dict[str, str], first: int) -> str:
    return ", ".join(f"${first + n}::{kind}[]" for n, kind in enumerate(types.values()))


_RUNS = {"run_id": "uuid", **_TYPES}
SAVE = f"""
with saved as (
    update runs r set {", ".join(f"{name} = u.{name}" for name in CHANGED)}
    from unnest({_unnest(_RUNS, 1)}) as u ({", ".join(_RUNS)}) where r.run_id = u.run_id
), history as (
    insert into run_history ({", ".join(_HISTORY)}) select * from unnest({_unnest(_HISTORY, 1 + len(_RUNS))})
), said as (
    insert into outbox ({", ".join(_OUTBOX)})
    select * from unnest({_unnest(_OUTBOX, 1 + len(_RUNS) + len(_HISTORY))})
)
select pg_notify('outbox_' || current_schema(), '')
"""
_HEADERS = (
    """'{"ce_specversion":"1.0","ce_id":"' || %s || '","ce_type":"%s","ce_source":"/runtide/run_tracker","ce_time":"'
    || now_text || '","content-type":"application/json","ce_subject":"' || run_id || '","ce_correlationid":"' || cause
    || '","ce_causationid":"' || cause || '","traceparent":"' || traceparent || '"}'"""
)  # fmt: skip
_SEEN = {
    "flow_run_id": "uuid", "state_id": "uuid", "at": "timestamptz", "state_type": "text", "state_name": "text",
    "state_message": "text", "run_count": "int", "start_time": "timestamptz", "gone": "boolean", "source": "text",
    "new_status": "text", "new_sub_state": "text", "new_previous": "text", "message_id": "text", "cause": "text",
    "traceparent": "text",
}  # fmt: skip
ALL_IN_ONE = f"""
with moved as (
    update consumer_offsets o set next_offset = b.last + 1
    from unnest($4::int[], $5::bigint[], $6::bigint[]) as b (partition, first, last)
    where o.consumer = $1 and o.topic = $2 and o.partition = b.partition and o.next_offset = b.first
    returning o.partition
), seen as materialized (
    select * from unnest({_unnest(_SEEN, 7)}) as s ({", ".join(_SEEN)})
), fresh as (
    insert into observations
        (flow_run_id, state_id, state_at, state_type, state_name, state_message, run_count, start_time, gone, source)
    select flow_run_id, state_id, at, state_type, state_name, state_message, run_count, start_time, gone, source
    from seen
    on conflict do nothing
    returning flow_run_id, state_id
), known as materialized (
    select s.*, r.run_id, r.tenant, r.run_type, r.instance_id, r.instance_name, r.flow_kind, r.trigger, r.mode,
        r.parameters, r.actor, r.state_status, r.state_at as old_at, r.state_id as old_id,
        r.other_status, r.other_at, r.other_id,
        r.seq + row_number() over w as seq,
        coalesce(r.first_running_at, min(s.at) filter (where s.new_status = 'running') over w) as started_at,
        lag(s.new_status) over w as before_status, lag(s.at) over w as before_at, lag(s.state_id) over w as before_id,
        row_number() over (partition by r.run_id order by s.at desc, s.state_id desc) as from_end,
        's3://runs/' || r.run_id || '/1/' as outputs_ref, to_json($3::timestamptz) #>> '{{}}' as now_text
    from fresh f join seen s on s.flow_run_id = f.flow_run_id and s.state_id = f.state_id
        join runs r on r.orchestrator_run_id = s.flow_run_id
    window w as (partition by r.run_id order by s.at, s.state_id)
), saved as (
    update runs r set state_id = k.state_id, state_at = k.at, state_type = k.state_type, state_name = k.state_name,
        state_message = k.state_message, state_status = k.new_status,
        other_status = case when coalesce(k.before_status, r.state_status) <> k.new_status
            then coalesce(k.before_status, r.state_status) else r.other_status end,
        other_at = case when coalesce(k.before_status, r.state_status) <> k.new_status
            then coalesce(k.before_at, r.state_at) else r.other_at end,
        other_id = case when coalesce(k.before_status, r.state_status) <> k.new_status
            then coalesce(k.before_id, r.state_id) else r.other_id end,
        run_count = k.run_count, first_running_at = k.started_at, status = k.new_status,
        sub_state = k.new_sub_state, previous_status = k.new_previous,
        progress_pct = case when k.new_status = 'completed' then 100 end, started_at = k.started_at,
        ended_at = case when k.new_status = 'completed' then k.at end,
        duration_seconds = case when k.new_status = 'completed' then extract(epoch from k.at - k.started_at) end,
        outputs = case when k.new_status = 'completed' then 'unreported' end, outputs_ref = k.outputs_ref,
        knowledge_time = case when k.new_status = 'completed' then k.at end, occurred_at = k.at, seq = k.seq,
        terminal_seq = case when k.new_status = 'completed' then k.seq end, said_progress_at = $3,
        ended_seen_at = case when k.new_status = 'completed' then $3 end
    from known k
    where r.run_id = k.run_id and k.from_end = 1
        and (r.state_at is null or (r.state_at, r.state_id) < (k.at, k.state_id))
), history as (
    insert into run_history (run_id, entry, at, source, status, sub_state, attempt, detail, message, seq)
    select run_id, state_id::text, at, 'prefect', new_status, new_sub_state, 1, state_name, state_message, seq
    from known
), said as (
    insert into outbox (topic, key, payload, headers)
    select 'runs.status.v1', convert_to(run_id::text, 'utf8'), convert_to(
        '{{"type":"run.status_changed","tenant":"' || tenant || '","run_id":"' || run_id || '","run_type":"' || run_type
        || '","instance_id":"' || instance_id || '","instance_name":' || to_json(instance_name) || ',"flow_kind":"'
        || flow_kind || '","trigger":"' || trigger || '","mode":"' || mode || '","parameters":' || parameters::text
        || ',"actor":' || to_json(actor) || ',"orchestrator_kind":"prefect","orchestrator_run_id":"' || flow_run_id
        || '","status":"' || new_status || '","previous_status":' || coalesce('"' || new_previous || '"', 'null')
        || ',"sub_state":' || coalesce('"' || new_sub_state || '"', 'null') || ',"attempt":1,"progress_pct":'
        || case when new_status = 'completed' then '100' else 'null' end || ',"step":null,"started_at":'
        || coalesce(to_json(started_at)::text, 'null') || ',"ended_at":'
        || case when new_status = 'completed' then to_json(at)::text else 'null' end || ',"duration_seconds":'
        || case when new_status = 'completed' then extract(epoch from at - started_at)::text else 'null' end
        || ',"metrics":{{}},"artifacts":{{}},"outputs_ref":"' || outputs_ref || '","outputs":'
        || case when new_status = 'completed' then '"unreported"' else 'null' end
        || ',"input_versions":{{}},"output_digest":null,"schema_digest":null,"last_data_date":null,'
        '"rows_processed":null,"error":null,'
        '"cancel_requested_at":null,"supersedes":null,"occurred_at":' || to_json(at) || ',"seq":' || seq || '}}',
        'utf8'),
        ({_HEADERS % ("message_id", "run.status_changed")})::json
    from known
    union all
    select 'activities.v1', convert_to(run_id::text, 'utf8'), convert_to(
        '{{"type":"activity.recorded","activity_id":"' || gen_random_uuid() || '","tenant":"' || tenant || '","actor":'
        || to_json(actor) || ',"resource_type":"backtest_run","resource_id":"' || run_id
        || '","action":"backtest_run.started","payload":{{"instance_id":"' || instance_id || '","instance_name":'
        || to_json(instance_name) || ',"attempt":1}},"correlation_id":"' || cause || '","occurred_at":' || to_json(at)
        || '}}', 'utf8'),
        ({_HEADERS % ("gen_random_uuid()", "activity.recorded")})::json
    from known where new_status = 'running'
)
select count(*), pg_notify('outbox_' || current_schema(), '') from moved
"""
