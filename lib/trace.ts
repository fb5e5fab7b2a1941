/** Spans of requests, for OpenTelemetry, and the trace context that joins those of all hops. */
import { type Field, field } from "./http1/head.ts";
import { isKnownMethod } from "./http1/methods.ts";

/** What a span says about its request. */
export type SpanAttributes = Readonly<Record<string, string | number | undefined>>;

/** How a span begins. */
export interface SpanStart {
  /** `server` answers a caller, `client` asks a target. */
  readonly kind: "server" | "client";
  readonly name: string;
  /** The request's fields: a valid `traceparent` among them makes the span a part of that trace. */
  readonly fields: readonly Field[];
  readonly attributes: SpanAttributes;
}

/** A span that has begun. */
export interface Span {
  /** Names the trace in logs. */
  readonly traceId: string;
  /** Whether it goes on with the trace that the request came with. */
  readonly isContinued: boolean;
  /** What the next hop gets in place of its own (W3C Trace Context, section 3.2). */
  readonly traceparent: string;
  /** Ends the span; only the first call counts. */
  end(attributes: SpanAttributes, hasFailed: boolean): void;
}

/** Begins spans; a runtime lends it where they are exported. */
export type Tracer = (start: SpanStart) => Span;

/** The method as OpenTelemetry's conventions have it. */
export function spanMethod(method: string): string {
  return isKnownMethod(method) ? method : "_OTHER";
}

/**
 * A request's fields for the next hop. Without a span they stay as they are, `traceparent` and
 * `tracestate` among them; with one, it is the next hop's parent.
 */
export function withTrace(fields: Field[], span: Span | undefined): Field[] {
  if (!span) return fields;
  // What vendors say about a trace means nothing for another one (section 3.3.1).
  const kept = fields.filter(({ key }) =>
    key !== "traceparent" && (key !== "tracestate" || span.isContinued)
  );
  kept.push(field("traceparent", span.traceparent));
  return kept;
}
