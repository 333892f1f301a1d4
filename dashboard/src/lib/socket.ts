// The live wire: one WebSocket for all that the page watches, which comes back by itself.
//
// Invariants: each subscription gets a snapshot before any delta, and after each reconnection a snapshot again, or, where it asked
// with `since`, what it missed. Nothing is told to one that has left. A connection that says nothing for too long is closed by us.
import { shallowRef } from "vue";
import { setSkew } from "./clock";
import { Lag, retryDelay } from "./reconnect";
import { locked, setToken, token } from "./token";

export interface Watcher {
  snapshot(data: unknown): void;
  delta(data: unknown): void;
  /** The service does not have the topic, or not now. */
  refused?(code: string, detail: string): void;
}

interface Subscription {
  topic: string;
  filter: Record<string, unknown> | undefined;
  hz: number;
  /** Event topics go on where they were. */
  resume: boolean;
  seq: number | null;
  epoch: string | null;
  ready: boolean;
  watcher: Watcher;
}

interface Message {
  type: string;
  id?: string | null;
  seq?: number;
  epoch?: string;
  data?: unknown;
  server_time?: string;
  authenticated?: boolean;
  code?: string;
  detail?: string;
}

const HEARTBEAT_MS = 5_000;
/** Without any message for so long the connection counts as lost. */
const DEAD_MS = 13_000;
const TOKEN_NEEDED = 4401;

export const open = shallowRef(false);
/** When the next attempt is made, in ms since 1970 by the browser's clock; null while there is none to wait for. */
export const retryAt = shallowRef<number | null>(null);
export const lag = shallowRef(0);

const subscriptions = new Map<string, Subscription>();
const lags = new Lag();
let socket: WebSocket | null = null;
let attempts = 0;
let timer: ReturnType<typeof setTimeout> | undefined;
let heardAt = 0;
let numbers = 0;
let started = false;

/** Watches a topic until the function returned is called. */
export function watchTopic(
  topic: string,
  watcher: Watcher,
  options: { filter?: Record<string, unknown>; hz?: number; resume?: boolean } = {},
): () => void {
  const id = `s${(numbers += 1)}`;
  const subscription: Subscription = {
    topic,
    filter: options.filter,
    hz: options.hz ?? 5,
    resume: options.resume ?? false,
    seq: null,
    epoch: null,
    ready: false,
    watcher,
  };
  subscriptions.set(id, subscription);
  if (open.value) subscribe(id, subscription);
  return () => {
    subscriptions.delete(id);
    if (open.value) send({ type: "unsubscribe", id });
  };
}

/** Tries at once, such as with another token. */
export function reconnect(): void {
  attempts = 0;
  if (socket) socket.close();
  else connect();
}

/** Connects, and comes back for as long as the page is there. */
export function start(): void {
  if (started) return;
  started = true;
  connect();
  setInterval(check, 1000);
  // A laptop that was opened, or a network that is back, is no reason to wait.
  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) hurry();
  });
}

function hurry(): void {
  if (!socket && !locked.value) {
    attempts = 0;
    connect();
  }
}

function connect(): void {
  clearTimeout(timer);
  retryAt.value = null;
  const made = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/realtime`);
  socket = made;
  heardAt = Date.now();
  made.onopen = () => {
    if (token.value) send({ type: "authenticate", token: token.value });
  };
  made.onmessage = (event) => {
    if (socket !== made || typeof event.data !== "string") return;
    heardAt = Date.now();
    hear(JSON.parse(event.data) as Message);
  };
  made.onclose = (event) => {
    if (socket !== made) return;
    lost(event.code);
  };
}

function lost(code: number): void {
  socket = null;
  open.value = false;
  lags.forget();
  for (const one of subscriptions.values()) one.ready = false;
  if (code === TOKEN_NEEDED) {
    if (token.value) setToken("");
    locked.value = true;
    return;
  }
  const delay = retryDelay(attempts, Math.random());
  attempts += 1;
  retryAt.value = Date.now() + delay;
  timer = setTimeout(connect, delay);
}

function hear(message: Message): void {
  switch (message.type) {
    case "hello":
      note(message.server_time);
      if (message.authenticated !== false) greet();
      else if (!token.value) locked.value = true;
      return;
    case "authenticated":
      greet();
      return;
    case "heartbeat":
      note(message.server_time);
      return;
    default:
      tell(message);
  }
}

function greet(): void {
  if (open.value) return;
  attempts = 0;
  open.value = true;
  // Whoever says nothing at all is told of the overview.
  send({ type: "unsubscribe", id: "-" });
  for (const [id, subscription] of subscriptions) subscribe(id, subscription);
}

function tell(message: Message): void {
  const subscription = message.id == null ? undefined : subscriptions.get(message.id);
  if (!subscription) return;
  if (message.type === "snapshot") {
    subscription.ready = true;
    subscription.seq = message.seq ?? null;
    subscription.epoch = message.epoch ?? subscription.epoch;
    subscription.watcher.snapshot(message.data);
  } else if (message.type === "delta") {
    subscription.seq = message.seq ?? subscription.seq;
    if (subscription.ready || subscription.resume) subscription.watcher.delta(message.data);
  } else if (message.type === "resync") {
    subscription.ready = false;
    subscription.epoch = message.epoch ?? subscription.epoch;
  } else if (message.type === "error") {
    subscription.watcher.refused?.(message.code ?? "", message.detail ?? "");
  }
}

function subscribe(id: string, one: Subscription): void {
  const since = one.resume && one.seq !== null && one.epoch !== null ? { epoch: one.epoch, seq: one.seq } : undefined;
  send({ type: "subscribe", id, topic: one.topic, filter: one.filter, max_hz: one.hz, since });
}

function send(message: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function note(serverTime: string | undefined): void {
  const at = Date.parse(serverTime ?? "");
  if (Number.isNaN(at)) return;
  lags.heard(at, Date.now());
  setSkew(lags.skew);
}

function check(): void {
  const now = Date.now();
  lag.value = open.value ? lags.at(now, HEARTBEAT_MS + 500) : 0;
  // A page that slept has heard nothing either, and its messages may come in this very moment.
  if (socket && now - heardAt > DEAD_MS) {
    const silent = socket;
    heardAt = now;
    socket = null;
    silent.onclose = null;
    silent.close();
    lost(0);
  }
}
