// The token that this tab shows: kept until the tab is closed, and nowhere else.
import { shallowRef } from "vue";

const KEY = "token";
const WHO = "who";

export const token = shallowRef(sessionStorage.getItem(KEY) ?? "");
/** Whether the service refused us for want of one. */
export const locked = shallowRef(false);

export function setToken(text: string): void {
  token.value = text.trim();
  locked.value = false;
  if (token.value) sessionStorage.setItem(KEY, token.value);
  else sessionStorage.removeItem(KEY);
}

export function who(): string {
  return sessionStorage.getItem(WHO) ?? "";
}

export function setWho(name: string): void {
  sessionStorage.setItem(WHO, name.trim());
}
