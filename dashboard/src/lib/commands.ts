// The commands there are, each with what it does in words; all of them ask first.
import { span, t, type Key } from "../i18n";
import { confirm } from "./action";
import { post, remove } from "./api";
import { literal } from "./format";
import type { Alert, Silence } from "./types";

export type SensorCommand = "restart" | "pause" | "resume" | "reset";

export function commandSensor(id: string, command: SensorCommand, done: () => void): void {
  confirm({
    title: `${t(`command.${command}`)} · ${id}`,
    text: t(`command.sensor.${command}` as Key),
    confirm: t(`command.${command}`),
    danger: command === "reset",
    run: async (why) => {
      await post(`/api/admin/sensors/${encodeURIComponent(id)}/${command}`, { why });
      done();
    },
  });
}

export function commandSource(kind: "sources" | "outputs", name: string, command: "restart" | "pause" | "resume", done: () => void): void {
  confirm({
    title: `${t(`command.${command}`)} · ${name}`,
    text: t(`command.source.${command}` as Key),
    confirm: t(`command.${command}`),
    run: async (why) => {
      await post(`/api/admin/${kind}/${encodeURIComponent(name)}/${command}`, { why });
      done();
    },
  });
}

export function restartActor(path: string, done: () => void): void {
  confirm({
    title: `${t("command.restart")} · ${path}`,
    text: t("command.actor.restart"),
    confirm: t("command.restart"),
    run: async (why) => {
      await post(`/api/admin/actors/${path.split("/").map(encodeURIComponent).join("/")}/restart`, { why });
      done();
    },
  });
}

const HOUR_MS = 3_600_000;
/** For how many hours something can be silenced. */
const SPANS = [1, 2, 4, 8, 24, 72, 168];

export function acknowledge(alert: Alert, done: () => void): void {
  confirm({
    title: `${t("alerts.acknowledge")} · ${alert.sensor_id ?? alert.rule}`,
    text: t("alerts.acknowledge_text"),
    confirm: t("alerts.acknowledge"),
    run: async (_, { by, comment }) => {
      await post(`/api/alerts/${encodeURIComponent(alert.alert)}/acknowledge`, { by: by || undefined, comment });
      done();
    },
  });
}

/** Silences the rule on the sensor of an alert. */
export function silence(alert: Alert, done: () => void): void {
  const matchers: Record<string, string> = { rule: literal(alert.rule) };
  if (alert.sensor_id !== null) matchers.sensor = literal(alert.sensor_id);
  confirm({
    title: `${t("alerts.silence")} · ${alert.sensor_id ?? alert.rule}`,
    text: t("alerts.silence_text", { rule: alert.rule }),
    confirm: t("alerts.silence"),
    choice: { label: t("alerts.for"), options: SPANS.map((hours) => ({ value: `${hours}h`, label: span(hours * HOUR_MS) })), value: "2h" },
    run: async (_, { by, comment, choice }) => {
      await post("/api/silences", { matchers, duration: choice, by: by || undefined, comment });
      done();
    },
  });
}

export function endSilence(one: Silence, done: () => void): void {
  confirm({
    title: t("alerts.end_title"),
    text: Object.entries(one.matchers)
      .map(([label, pattern]) => `${label} = ${pattern}`)
      .join(", "),
    confirm: t("alerts.end"),
    why: false,
    run: async () => {
      await remove(`/api/silences/${one.id}`);
      done();
    },
  });
}
