/** Metrics that every program has: which version it is, and what it has read and when that expires. */
import type { Counter, Gauge, Instruments } from "./instruments.ts";

/** @typeParam Source What is read again when its files change. */
export class ProgramMetrics<Source extends string> {
  readonly #instruments: Instruments;
  readonly #configReloads: Counter<"source" | "result">;
  readonly #configReloadTime: Gauge<"source">;
  readonly #certificates: Gauge<"name">;

  constructor(instruments: Instruments, program: string, version: string) {
    this.#instruments = instruments;
    this.#configReloads = instruments.counter(
      "culvert_config_reloads_total",
      "Files that were read again while running, by what they hold and by result.",
      "source",
      "result",
    );
    this.#configReloadTime = instruments.gauge(
      "culvert_config_last_reload_success_timestamp_seconds",
      "When what is in use was read, in seconds since 1970, by source.",
      "source",
    );
    this.#certificates = instruments.gauge(
      "culvert_certificate_not_after_timestamp_seconds",
      "When a certificate in use expires, in seconds since 1970, by its option's name.",
      "name",
    );
    instruments.gauge(
      "culvert_build_info",
      "Always 1; the labels say which program this is.",
      "program",
      "version",
    ).set({ program, version }, 1);
  }

  /** The content type of {@link text}. */
  get contentType(): string {
    return this.#instruments.contentType;
  }

  /** Everything in Prometheus' text format. */
  text(): Promise<string> {
    return this.#instruments.text();
  }

  /** What a source held at start is in use. */
  configLoaded(source: Source): void {
    this.#configReloads.inc({ source, result: "applied" }, 0);
    this.#configReloads.inc({ source, result: "refused" }, 0);
    this.#configReloadTime.setToCurrentTime({ source });
  }

  /**
   * A source changed while running: what it holds now is in use, or what it held before.
   *
   * @param _reason Why it was refused.
   */
  configReloaded(source: Source, result: "applied" | "refused", _reason?: string): void {
    this.#configReloads.inc({ source, result });
    if (result === "applied") this.#configReloadTime.setToCurrentTime({ source });
  }

  /** When the certificates of an option's file expire, in seconds since 1970. */
  certificateExpires(name: string, seconds: number): void {
    this.#certificates.set({ name }, seconds);
  }

  /** A certificate is in use no more. */
  certificateGone(name: string): void {
    this.#certificates.remove({ name });
  }
}
