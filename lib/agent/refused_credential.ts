/** Tells that the target refuses the agent's own credential, which callers take for theirs. */
import type { Log } from "../log.ts";

/** What is counted and logged. */
export interface RefusedCredentialOptions {
  /** Counts one refusal. */
  readonly count: () => void;
  readonly log: Pick<Log, "warn">;
  /** What each line names: the option, its file, the target. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly nowMs?: () => number;
}

/** A target that refuses the credential refuses every request; one line a minute is enough. */
const lineEveryMs = 60_000;

/** Counts answers with status 401 to requests that carried the agent's credential. */
export class RefusedCredential {
  readonly #options: RefusedCredentialOptions;
  #lastLineMs = -Infinity;
  #unlogged = 0;

  constructor(options: RefusedCredentialOptions) {
    this.#options = options;
  }

  /** The target answered 401 to the agent's credential. */
  refused(): void {
    const { count, log, about, nowMs = Date.now } = this.#options;
    count();
    const now = nowMs();
    // A clock that was set back must not silence the warning.
    const isDue = now - this.#lastLineMs >= lineEveryMs || now < this.#lastLineMs;
    if (!isDue) {
      this.#unlogged++;
      return;
    }
    const unlogged = this.#unlogged || undefined;
    this.#lastLineMs = now;
    this.#unlogged = 0;
    const facts = { ...about, status: 401, unlogged };
    if (about.option === "sa-token-path") {
      log.warn(
        "The target refused the agent's credential; give a valid token in --sa-token-path",
        facts,
      );
    } else log.warn("The target refused its credential; give a valid token in its file", facts);
  }
}
