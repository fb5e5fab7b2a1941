/** Spans through Deno's own OpenTelemetry, which exports them; see `OTEL_DENO` in docs/observability.md. */
import type { Span as OtelSpan, SpanContext } from "@opentelemetry/api";
import { getField } from "../../http1/head.ts";
import type { Span, SpanAttributes, SpanStart, Tracer } from "../../trace.ts";

type Otel = typeof import("@opentelemetry/api");

/** A tracer if Deno's OpenTelemetry is on; else nothing, and nothing is loaded. */
export async function denoTracer(version: string): Promise<Tracer | undefined> {
  // Deno takes no other word for yes.
  if (Deno.env.get("OTEL_DENO") !== "true") return undefined;
  const otel = await import("@opentelemetry/api");
  const tracer = otel.trace.getTracer("culvert", version);
  return (start) => {
    const parent = parentOf(start, otel);
    const context = parent
      ? otel.trace.setSpanContext(otel.ROOT_CONTEXT, parent)
      : otel.ROOT_CONTEXT;
    const kind = start.kind === "server" ? otel.SpanKind.SERVER : otel.SpanKind.CLIENT;
    const { name, attributes } = start;
    const span = tracer.startSpan(name, { kind, attributes: given(attributes) }, context);
    return new DenoSpan(span, parent !== undefined, otel.SpanStatusCode.ERROR);
  };
}

/** Version 00 of `traceparent`; what a later version adds behind it is not ours to know. */
const traceparentPattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

/** The span that a request came with (W3C Trace Context, section 3.2.2); two are as good as none. */
function parentOf({ fields }: SpanStart, otel: Otel): SpanContext | undefined {
  if (fields.filter(({ key }) => key === "traceparent").length !== 1) return undefined;
  const text = getField(fields, "traceparent")!;
  const match = traceparentPattern.exec(text);
  if (!match || match[1] === "ff" || (match[1] === "00" && text.length !== 55)) return undefined;
  const [, , traceId = "", spanId = "", flags = ""] = match;
  const parent = { traceId, spanId, traceFlags: parseInt(flags, 16) & 1, isRemote: true };
  return otel.isSpanContextValid(parent) ? parent : undefined;
}

class DenoSpan implements Span {
  readonly isContinued: boolean;
  readonly #span: OtelSpan;
  readonly #errorStatus: number;
  #isOver = false;

  constructor(span: OtelSpan, isContinued: boolean, errorStatus: number) {
    this.#span = span;
    this.isContinued = isContinued;
    this.#errorStatus = errorStatus;
  }

  get traceId(): string {
    return this.#span.spanContext().traceId;
  }

  get traceparent(): string {
    const { traceId, spanId, traceFlags } = this.#span.spanContext();
    return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
  }

  end(attributes: SpanAttributes, hasFailed: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#span.setAttributes(given(attributes));
    if (hasFailed) this.#span.setStatus({ code: this.#errorStatus });
    this.#span.end();
  }
}

/** The attributes that have a value. */
function given(attributes: SpanAttributes): Record<string, string | number> {
  const all: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) all[name] = value;
  }
  return all;
}
