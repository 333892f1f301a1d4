// The commands there are, each with what it does in words; all of them ask first.
import { t, type Key } from "../i18n";
import { confirm } from "./action";
import { post } from "./api";

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
