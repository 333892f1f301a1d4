// The words of the dashboard in the language that is chosen: the browser's, unless somebody chose another.
import { computed, shallowRef, watchEffect } from "vue";
import type { SpanWords } from "../lib/format";
import * as format from "../lib/format";
import { now } from "../lib/clock";
import { en } from "./en";
import { zh } from "./zh";

export type Key = keyof typeof en;
export type Language = "en" | "zh";
const KEY = "language";

const MESSAGES: Record<Language, Record<Key, string>> = { en, zh };

function preferred(): Language {
  const chosen = localStorage.getItem(KEY);
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const language = shallowRef<Language>(preferred());
export const locale = computed(() => (language.value === "zh" ? "zh-CN" : "en-US"));

watchEffect(() => {
  document.documentElement.lang = language.value === "zh" ? "zh-Hans" : "en";
});

export function setLanguage(to: Language): void {
  language.value = to;
  localStorage.setItem(KEY, to);
}

/** A text with its `{names}` replaced. What is put in is text, and is only ever shown as text. */
export function fill(message: string, params: Record<string, string | number> = {}): string {
  return message.replace(/\{(\w+)\}/g, (whole, name: string) => (Object.hasOwn(params, name) ? String(params[name]) : whole));
}

export function t(key: Key, params?: Record<string, string | number>): string {
  return fill(MESSAGES[language.value][key], params);
}

/** A word of the service, such as a mode, in the language of now; as it is where we do not know it. */
export function word(group: string, value: string): string {
  const key = `${group}.${value}`;
  return Object.hasOwn(en, key) ? t(key as Key) : value.replaceAll("_", " ");
}

const spans = computed<SpanWords>(() => ({ ms: t("unit.ms"), s: t("unit.s"), min: t("unit.min"), h: t("unit.h"), d: t("unit.d") }));

// The formats, with the language of now.
export const num = (value: number | null | undefined, digits?: number) => format.number(locale.value, value, digits);
export const fix = (value: number | null | undefined, places: number) => format.fixed(locale.value, value, places);
export const int = (value: number | null | undefined) => format.integer(locale.value, value);
export const short = (value: number | null | undefined) => format.compact(locale.value, value);
export const measured = (value: number | null | undefined, unit: string | null | undefined) => format.measured(locale.value, value, unit);
export const size = (value: number | null | undefined) => format.bytes(locale.value, value).join(" ");
export const span = (ms: number | null | undefined) => format.span(locale.value, ms, spans.value);
export const clock = (at: string | number, millis = false) => format.time(locale.value, typeof at === "number" ? at : Date.parse(at), now.value, millis);
export const tick = (at: number, length: number) => format.tick(locale.value, at, length);
/** How long ago that was. */
export function ago(at: string | number | null | undefined): string {
  if (at === null || at === undefined) return "–";
  return format.age(locale.value, now.value - (typeof at === "number" ? at : Date.parse(at)), spans.value);
}
