// The color and the shape of every state there is: neither says anything alone, so that whoever does not see colors sees shapes.

export type Shape = "square" | "dot" | "ring" | "triangle" | "cross" | "bars" | "half" | "diamond";
export interface Look {
  /** For text and lines. */
  ink: string;
  /** For fills. */
  fill: string;
  shape: Shape;
}

const of = (name: string, shape: Shape): Look => ({ ink: `--${name}`, fill: `--fill-${name}`, shape });

const LOOKS: Record<string, Look> = {
  running: of("good", "square"),
  catching_up: of("info", "half"),
  starting: of("info", "half"),
  waiting: of("warn", "half"),
  stopping: of("mute", "half"),
  backing_off: of("warn", "triangle"),
  degraded: of("bad", "triangle"),
  anomalous: of("warn", "diamond"),
  paused: of("pause", "bars"),
  quarantined: of("bad", "cross"),
  stopped: of("bad", "cross"),
  silent: of("mute", "ring"),
  passive: of("mute", "dot"),
  info: of("info", "dot"),
  warning: of("warn", "diamond"),
  error: of("bad", "triangle"),
  critical: of("bad", "cross"),
};
const UNKNOWN = of("mute", "ring");

export function look(state: string): Look {
  return Object.hasOwn(LOOKS, state) ? (LOOKS[state] as Look) : UNKNOWN;
}

/** Draws a shape into a square of that length; the smallest ones are all squares. */
export function draw(context: CanvasRenderingContext2D, shape: Shape, x: number, y: number, size: number): void {
  const half = size / 2;
  if (size < 6 && shape !== "dot") {
    context.fillRect(x, y, size, size);
    return;
  }
  switch (shape) {
    case "square":
      context.beginPath();
      context.roundRect(x, y, size, size, Math.min(2.5, size / 5));
      context.fill();
      return;
    case "half":
      context.beginPath();
      context.roundRect(x, y, size, size, Math.min(2.5, size / 5));
      context.globalAlpha = 0.35;
      context.fill();
      context.globalAlpha = 1;
      context.fillRect(x, y, half, size);
      return;
    case "dot":
      context.beginPath();
      context.arc(x + half, y + half, Math.max(1, size / 4.5), 0, 2 * Math.PI);
      context.fill();
      return;
    case "ring":
      context.beginPath();
      context.arc(x + half, y + half, half - Math.max(0.75, size / 10), 0, 2 * Math.PI);
      context.lineWidth = Math.max(1.5, size / 6);
      context.stroke();
      return;
    case "triangle":
      context.beginPath();
      context.moveTo(x + half, y);
      context.lineTo(x + size, y + size);
      context.lineTo(x, y + size);
      context.closePath();
      context.fill();
      return;
    case "diamond":
      context.beginPath();
      context.moveTo(x + half, y);
      context.lineTo(x + size, y + half);
      context.lineTo(x + half, y + size);
      context.lineTo(x, y + half);
      context.closePath();
      context.fill();
      return;
    case "bars":
      context.fillRect(x + size * 0.1, y, size * 0.3, size);
      context.fillRect(x + size * 0.6, y, size * 0.3, size);
      return;
    case "cross":
      context.beginPath();
      context.lineWidth = Math.max(2, size / 4.5);
      context.moveTo(x + 1, y + 1);
      context.lineTo(x + size - 1, y + size - 1);
      context.moveTo(x + size - 1, y + 1);
      context.lineTo(x + 1, y + size - 1);
      context.stroke();
  }
}
