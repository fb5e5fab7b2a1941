/** Says in time that certificates expire: by a metric always, and in the log when it is near. */
import type { Log } from "../../log.ts";
import type { TlsFileFacts } from "./tls_files.ts";

/** What is looked at, and who is told. */
export interface CertificateExpiryOptions {
  /** The certificates that are in use now. */
  readonly facts: (nowMs: number) => readonly TlsFileFacts[];
  /** Told of every certificate at each look. @param seconds Since 1970. */
  readonly expires: (option: string, seconds: number) => void;
  /** A certificate of the last look is in use no more. */
  readonly gone?: (option: string) => void;
  readonly log: Pick<Log, "warn" | "error">;
  readonly nowMs?: () => number;
}

const dayMs = 86_400_000;
/** How long before its end a certificate is first logged. */
const warningMs = 14 * dayMs;
const lookMs = 3_600_000;

/** Looks every hour, and when it is asked to; writes at most one line a day for each certificate. */
export class CertificateExpiry {
  readonly #options: CertificateExpiryOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  /** When a line was written for a file, and of which end it spoke. */
  readonly #told = new Map<string, { readonly atMs: number; readonly notAfterMs: number }>();

  #known: ReadonlySet<string> = new Set();

  constructor(options: CertificateExpiryOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.look(), lookMs);
    this.look();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** To be called when certificates were replaced. */
  look(): void {
    const { facts, expires, nowMs = Date.now } = this.#options;
    const now = nowMs();
    const all = facts(now);
    this.#forget(new Set(all.map(({ option }) => option)));
    for (const one of all) {
      expires(one.option, one.notAfterMs / 1000);
      const isNear = one.notBeforeMs > now || one.notAfterMs - now < warningMs;
      if (isNear && this.#isDue(one, now)) this.#tell(one, now);
    }
  }

  #forget(options: ReadonlySet<string>): void {
    for (const option of this.#known.difference(options)) {
      this.#told.delete(option);
      this.#options.gone?.(option);
    }
    this.#known = options;
  }

  #isDue({ option, notAfterMs }: TlsFileFacts, now: number): boolean {
    const told = this.#told.get(option);
    if (!told || told.notAfterMs !== notAfterMs) return true;
    const hasExpiredSince = told.atMs < notAfterMs && notAfterMs <= now;
    return hasExpiredSince || now - told.atMs >= dayMs;
  }

  #tell({ option, path, subject, notBeforeMs, notAfterMs }: TlsFileFacts, now: number): void {
    this.#told.set(option, { atMs: now, notAfterMs });
    const { log } = this.#options;
    const expires = new Date(notAfterMs).toISOString();
    const about = { option, path, subject, expires };
    if (notBeforeMs > now) {
      return log.error("A certificate is not valid yet; check this machine's clock", {
        ...{ option, path, subject },
        valid_from: new Date(notBeforeMs).toISOString(),
        clock: new Date(now).toISOString(),
      });
    }
    if (notAfterMs <= now) return log.error("A certificate has expired", about);
    const days = Math.floor((notAfterMs - now) / dayMs);
    log.warn("A certificate expires soon", { ...about, days });
  }
}
