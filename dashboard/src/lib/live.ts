// What a component watches: a topic of the live wire, and where the wire is not to be had, the same asked for again and again.
import { computed, onScopeDispose, shallowRef, watch, type ShallowRef } from "vue";
import { merge } from "./merge";
import { open, watchTopic } from "./socket";

/** Nothing moves while somebody wants to read in peace. */
export const paused = shallowRef(false);
const answering = shallowRef(false);
let failures = 0;

export type Status = "live" | "polling" | "waiting" | "paused";
export const status = computed<Status>(() => {
  if (paused.value) return "paused";
  if (open.value) return "live";
  return answering.value ? "polling" : "waiting";
});

interface Options {
  hz?: number;
  filter?: Record<string, unknown>;
  resume?: boolean;
  /** Told every change as it comes, before it is merged. */
  onDelta?: (data: unknown) => void;
  onSnapshot?: (data: unknown) => void;
  onRefused?: (code: string) => void;
  /** Event topics are told, not kept. */
  keep?: boolean;
}

/** The newest state of a topic, from now until the scope ends. */
export function useTopic<T>(topic: string, options: Options = {}): ShallowRef<T | null> {
  const state = shallowRef<T | null>(null);
  const keep = options.keep ?? true;
  let stop: (() => void) | null = null;
  const begin = () => {
    stop = watchTopic(
      topic,
      {
        snapshot(data) {
          if (keep) state.value = data as T;
          options.onSnapshot?.(data);
        },
        delta(data) {
          options.onDelta?.(data);
          if (keep && state.value !== null) state.value = merge(state.value, data);
        },
        refused: (code) => options.onRefused?.(code),
      },
      options,
    );
  };
  const end = () => {
    stop?.();
    stop = null;
  };
  watch(paused, (yes) => (yes ? end() : begin()));
  if (!paused.value) begin();
  onScopeDispose(end);
  return state;
}

/**
 * Asks every `period` ms until the scope ends, but not while the page is hidden or paused, nor while `unless` says so. Failures
 * are waited out longer and longer. `ask` is given up when the scope ends.
 */
export function usePoll(
  ask: (signal: AbortSignal) => Promise<void>,
  period: number,
  unless: () => boolean = () => false,
): { again: () => void } {
  const ends = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running = false;
  const turn = async () => {
    clearTimeout(timer);
    if (running || ends.signal.aborted) return;
    let wait = period;
    if (!document.hidden && !paused.value && !unless()) {
      running = true;
      try {
        await ask(ends.signal);
        failures = 0;
        answering.value = true;
      } catch {
        if (!ends.signal.aborted) {
          failures = Math.min(failures + 1, 5);
          answering.value = false;
        }
      }
      running = false;
      wait = period * (1 + failures * Math.random());
    }
    if (!ends.signal.aborted) timer = setTimeout(turn, wait);
  };
  const again = () => void turn();
  void turn();
  watch(paused, (yes) => {
    if (!yes) again();
  });
  onScopeDispose(() => {
    ends.abort();
    clearTimeout(timer);
  });
  return { again };
}
