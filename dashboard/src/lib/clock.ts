// One clock for all ages that are shown: a page with a thousand rows has one timer, and none while nobody looks.
//
// It is the service's clock as far as we know it, so that a browser whose clock is wrong does not show sensors as silent.
import { shallowRef } from "vue";

let skew = 0;

/** Ms since 1970 by the clock of the service. */
export function serverNow(): number {
  return Date.now() - skew;
}

/** As {@link serverNow}, once a second. */
export const now = shallowRef(Date.now());

/** By how much the browser's clock is ahead of the service's. */
export function setSkew(ms: number): void {
  skew = ms;
}

setInterval(() => {
  if (!document.hidden) now.value = serverNow();
}, 1000);
