// How many alerts are open that nobody has acknowledged: what the frame of every page tells.
import { shallowRef, type ShallowRef } from "vue";
import { get } from "./api";
import { usePoll } from "./live";
import type { Alert, Listed } from "./types";

/** More than that are not counted. */
export const MANY = 100;
const PERIOD_MS = 5_000;

/** Null while it is not known. */
export function useUntaken(): ShallowRef<number | null> {
  const count = shallowRef<number | null>(null);
  usePoll(async (signal) => {
    const page = await get<Listed<Alert>>(`/api/alerts?state=open&limit=${MANY}`, signal);
    count.value = page.next ? MANY : page.data.filter((one) => !one.acknowledged).length;
  }, PERIOD_MS);
  return count;
}
