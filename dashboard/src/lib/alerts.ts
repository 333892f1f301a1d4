// How many alerts are open, and how many of them nobody has acknowledged: asked once for all who show it.
import { shallowRef } from "vue";
import { get } from "./api";
import { usePoll } from "./live";
import type { Alert, Listed } from "./types";

/** More than that are not counted. */
export const MANY = 100;
const PERIOD_MS = 5_000;

export interface Open {
  all: number;
  untaken: number;
  grave: boolean;
}

/** Null while it is not known. */
export const openAlerts = shallowRef<Open | null>(null);

/** Keeps it up to date until the scope ends. */
export function watchAlerts(): void {
  usePoll(async (signal) => {
    const page = await get<Listed<Alert>>(`/api/alerts?state=open&limit=${MANY}`, signal);
    const untaken = page.data.filter((one) => !one.acknowledged);
    const grave = page.data.some((one) => one.level === "error" || one.level === "critical");
    openAlerts.value = { all: page.data.length, untaken: page.next ? MANY : untaken.length, grave };
  }, PERIOD_MS);
}

/** A count, or that there are many. */
export function upTo(count: number): string {
  return count >= MANY ? `${MANY - 1}+` : String(count);
}
