// What all charts have in common: fonts, axes, colors, and tooltips that are made of text alone.
import type { EChartsCoreOption } from "echarts/core";
import { tick } from "../i18n";
import { color } from "./theme";

export const FONT = '"Inter Variable", Inter, system-ui, sans-serif';

export function timeAxis(from: number, to: number, splits = 6): EChartsCoreOption {
  return {
    type: "time",
    min: from,
    max: to,
    splitNumber: splits,
    axisLine: { lineStyle: { color: color("--line-strong") } },
    axisTick: { show: false },
    axisLabel: {
      color: color("--faint"),
      fontFamily: FONT,
      fontSize: 11,
      hideOverlap: true,
      showMinLabel: false,
      showMaxLabel: false,
      formatter: (at: number) => tick(at, to - from),
    },
    splitLine: { show: false },
  };
}

export function valueAxis(label: (value: number) => string, more: EChartsCoreOption = {}): EChartsCoreOption {
  return {
    type: "value",
    scale: true,
    splitNumber: 4,
    axisLine: { show: false },
    axisTick: { show: false },
    axisLabel: { color: color("--faint"), fontFamily: FONT, fontSize: 11, formatter: label },
    splitLine: { lineStyle: { color: color("--grid"), width: 1 } },
    ...more,
  };
}

export function tooltip(content: (points: TipPoint[]) => TipLine[] | null, trigger: "axis" | "item" = "axis"): EChartsCoreOption {
  return {
    trigger,
    confine: true,
    transitionDuration: 0,
    padding: 0,
    borderWidth: 0,
    backgroundColor: "transparent",
    extraCssText: "box-shadow:none",
    className: "chart-tip",
    axisPointer: { type: "line", animation: false, lineStyle: { color: color("--line-strong"), type: "solid", width: 1 } },
    formatter: (points: TipPoint | TipPoint[]) => {
      const lines = content(Array.isArray(points) ? points : [points]);
      return lines === null ? "" : tip(lines);
    },
  };
}

export interface TipPoint {
  seriesId?: string;
  axisValue?: number;
  value: unknown;
  data: unknown;
}
export interface TipLine {
  label: string;
  value?: string;
  color?: string;
  head?: boolean;
}

/** An element, never markup: whatever a sensor calls itself stays a text. */
function tip(lines: TipLine[]): HTMLElement {
  const box = document.createElement("div");
  box.className = "tip";
  for (const line of lines) {
    const row = document.createElement("div");
    row.className = line.head ? "tip-head" : "tip-row";
    if (line.color) {
      const dot = document.createElement("i");
      dot.style.background = line.color;
      row.append(dot);
    }
    const label = document.createElement("span");
    label.textContent = line.label;
    row.append(label);
    if (line.value !== undefined) {
      const value = document.createElement("b");
      value.textContent = line.value;
      row.append(value);
    }
    box.append(row);
  }
  return box;
}
