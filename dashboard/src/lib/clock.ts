// One clock for all ages that are shown: a page with a thousand rows has one timer, and none while nobody looks.
import { shallowRef } from "vue";

export const now = shallowRef(Date.now());

setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);
