// The answers of the service, as docs/api.md and /api/openapi.json describe them.

export type Mode = "running" | "catching_up" | "backing_off" | "paused" | "quarantined" | "passive";
export type Phase = "starting" | "running" | "backing_off" | "quarantined" | "degraded" | "stopped";
export type Level = "info" | "warning" | "error" | "critical";

export interface Latest {
  value: number;
  time: string;
  unit: string | null;
}
export type Values = Record<string, Latest>;

export interface Ledger {
  received: number;
  stored: number;
  duplicate: number;
  rejected: number;
  filtered: number;
  late: number;
  unprocessed: number;
  balances: boolean;
}

export interface Summary {
  total_events: number;
  events_per_second: number;
  active_sources: number;
  processing_latency_ms: number | null;
  error_rate: number;
  sensors: number;
  series: number;
  ledger: Ledger | null;
  store: { database: string; failing: string | null };
  started_at: string;
  uptime_seconds: number;
  version: string;
}

export interface Sensor {
  sensor_id: string;
  tags: Record<string, string>;
  metrics: { metric: string; unit: string | null }[];
  shard: number;
  mode: Mode;
  mailbox: number;
  restarts: number;
  crashes: number;
  latest?: Values;
}

export interface Listed<T> {
  data: T[];
  next?: string;
}

export interface Point {
  time: string;
  count: number;
  min: number;
  max: number;
  mean: number;
  first: number;
  last: number;
}
export interface Envelope {
  sensor_id: string;
  metric: string;
  unit: string | null;
  step_seconds: number;
  data: Point[];
}

export interface Reading {
  time: string;
  value: number;
  seq: number;
  unit?: string;
  flags?: string[];
}

export interface WindowRow {
  kind: string;
  size_seconds: number;
  start: string;
  end: string;
  count: number;
  min: number;
  max: number;
  mean: number;
  stddev: number;
  first: number;
  last: number;
  revision: number;
}

export interface Anomaly {
  metric: string;
  time: string;
  value: number;
  detector: string;
  level: Level;
  score: number;
  expected: number | null;
  low: number | null;
  high: number | null;
  explanation: string;
}

export interface Restart {
  time: string;
  reason: string;
  detail: string;
  by: string | null;
  took_ms: number | null;
}

export interface Crash {
  message: string;
  location: string | null;
}

export interface OpenWindow {
  start: string;
  end: string;
  incomplete: boolean;
  count: number;
  min: number | null;
  max: number | null;
  mean: number | null;
  stddev: number | null;
  first: number | null;
  last: number | null;
}

export interface SeriesState {
  metric: string;
  newest_time: string;
  newest_value: number;
  watermark: string;
  remembered: number;
  ring: number;
  forgot: boolean;
  windows: { spec: Record<string, { size: number }>; open: OpenWindow[] }[];
  detectors: { spec: Record<string, Record<string, number>>; state: Record<string, Record<string, unknown>> }[];
}

export interface SensorState {
  sensor_id: string;
  mode: Mode;
  mailbox: number;
  restarts: number;
  crashes: number;
  last_crash: Crash | null;
  memory_bytes: number;
  state: { series: SeriesState[]; next_deadline: number | null };
}

export interface SensorLedger extends Ledger {
  snapshot_seq: number | null;
  snapshot_bytes: number | null;
  last_time: string | null;
  last_seq: number | null;
}

export interface ActorNode {
  path: string;
  kind: string;
  parent: string | null;
  phase: Phase;
  restarts: number;
  crashes: number;
  last_crash: Crash | null;
  since: string;
}
export interface Shard {
  shard: number;
  sensors: Partial<Record<Mode, number>>;
  wanted: number;
  timers: number;
  trouble?: string;
}
export interface SensorActor {
  sensor_id: string;
  mode: Mode;
  mailbox: number;
  restarts: number;
  crashes: number;
}
export interface ActorTree {
  nodes: ActorNode[];
  shards: Shard[];
  sensors?: SensorActor[];
}

export interface KafkaDetail {
  assigned: number;
  lag: number;
  messages: number;
  messages_per_second: number;
  bytes_per_second: number;
  errors: number;
  last_error: { at: string; message: string } | null;
  partitions: { partition: string; position: number | null; end: number | null; lag: number | null; paused: boolean }[];
}
export interface Source {
  name: string;
  kind: string;
  phase: Phase;
  restarts: number;
  crashes: number;
  room: number;
  status: {
    state: "running" | "waiting" | "paused" | "stopping";
    under_way: number;
    delivered: number;
    retries: number;
    kafka?: KafkaDetail;
    mqtt?: { connected: boolean; broker: string; reconnects: number; waiting_for_ack: number; last_error: string | null };
    mqtt_listener?: Record<string, number>;
  } | null;
}
export interface Output {
  name: string;
  kind: string;
  phase: Phase;
  restarts: number;
  crashes: number;
  status: Record<string, unknown> | null;
}

/** What somebody said to an alert. */
export interface Acknowledged {
  by: string;
  at: string;
  comment: string;
}

/** An event of an alert, or where one stands after its last. */
export interface AlertEvent {
  alert: string;
  ordinal: number;
  rule: string;
  change: string;
  timestamp: string;
  state: string;
  level: string;
  since: string;
  value: number | null;
  threshold: number | null;
  low: number | null;
  high: number | null;
  flapping: boolean;
  reason: string;
}

export interface Alert extends AlertEvent {
  sensor_id: string | null;
  metric: string | null;
  ended: string | null;
  acknowledged: Acknowledged | null;
}

export interface AlertDetail extends Alert {
  events: AlertEvent[];
}

export interface Silence {
  id: number;
  matchers: Record<string, string>;
  from: string;
  until: string;
  by: string;
  comment: string;
}

export interface DeadLetter {
  id: number;
  time: string;
  source: string;
  position: string;
  sensor_id: string | null;
  reason: string;
  detail: string;
  payload: string;
  payload_base64?: string;
  payload_bytes: number;
  replayed_at: string | null;
}
