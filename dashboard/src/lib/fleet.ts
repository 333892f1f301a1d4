// All sensors at once, live: their cells, and the figures of the whole service.
import { computed, onScopeDispose, shallowRef, watch, type ComputedRef, type ShallowRef } from "vue";
import { get, query } from "./api";
import { Cells, type CellChanges, type CellNames, type Look } from "./cells";
import { status, usePoll, useTopic } from "./live";
import type { Summary, Values } from "./types";

export interface Overview {
  summary: Omit<Summary, "ledger" | "store" | "version" | "started_at"> & { store_failing?: string | null };
  values: Record<string, Values>;
  names: number;
}

export interface Fleet {
  overview: ShallowRef<Overview | null>;
  cells: ShallowRef<Cells | null>;
  /** Changes whenever a cell does. */
  version: ShallowRef<number>;
  counts: ComputedRef<Record<Look, number> | null>;
}

const AGAIN_MS = 10_000;

/** Watches everything until the scope ends. `group` is the tag by which cells are grouped. */
export function useFleet(group: () => string, sensors: string[]): Fleet {
  const cells = shallowRef<Cells | null>(null);
  const version = shallowRef(0);
  let names = -1;
  let loading = false;
  const ends = new AbortController();
  onScopeDispose(() => ends.abort());

  async function load(): Promise<void> {
    if (loading) return;
    loading = true;
    try {
      const asked = group();
      const answer = await get<CellNames>(query("/api/sensors/cells", { group_by: asked }), ends.signal);
      if (asked === group()) {
        names = answer.names;
        cells.value = new Cells(answer);
        version.value += 1;
      }
    } finally {
      loading = false;
    }
  }
  const reload = () => void load().catch(() => {});
  watch(group, reload);

  function take(data: unknown): void {
    const change = data as { names?: number; cells?: CellChanges };
    const strange = change.cells && cells.value ? cells.value.apply(change.cells) : false;
    if (change.cells) version.value += 1;
    if (strange || (change.names !== undefined && change.names !== names)) reload();
  }

  const overview = useTopic<Overview>("overview", { hz: 5, filter: { sensors }, onSnapshot: take, onDelta: take });
  const live = () => status.value === "live";
  usePoll(
    async (signal) => {
      const [summary, ...values] = await Promise.all([
        get<Summary>("/api/statistics/summary", signal),
        ...sensors.map((sensor) => get<Record<string, Values>>(query("/api/metrics/latest", { sensor }), signal).catch(() => ({}))),
      ]);
      overview.value = { summary: { ...summary, store_failing: summary.store.failing }, values: Object.assign({}, ...values), names: 0 };
    },
    1500,
    live,
  );
  usePoll(load, AGAIN_MS, () => live() && cells.value !== null);

  const counts = computed(() => {
    void version.value;
    return cells.value?.counts() ?? null;
  });
  return { overview, cells, version, counts };
}
