/** Whether the cluster has native sidecars: init containers that run beside the others. */
import { delay } from "../../kube/delay.ts";
import type { KubeFetch } from "../../kube/client.ts";
import type { Log } from "../../log.ts";
import { messageOf } from "../../message_of.ts";

/** Kubernetes 1.29 is the first to have them without a feature gate. */
const firstMinor = 29;
const timeoutMs = 10_000;
const retryMs = 2_000;
/** A cluster may be upgraded. */
const recheckMs = 10 * 60_000;

/** Asks the API server for its version until it has native sidecars. */
export class NativeSidecars {
  readonly #fetch: KubeFetch;
  readonly #log: Log;
  #isNative: boolean | undefined;

  constructor(fetch: KubeFetch, log: Log) {
    this.#fetch = fetch;
    this.#log = log;
  }

  /** Undefined until the API server has said its version. */
  get isNative(): boolean | undefined {
    return this.#isNative;
  }

  /** Asks until the signal is aborted, or the answer can't change any more. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#ask();
      } catch (error) {
        this.#log.debug("Could not read the API server's version", { error: messageOf(error) });
      }
      if (this.#isNative) return;
      await delay(this.#isNative === undefined ? retryMs : recheckMs, signal);
    }
  }

  async #ask(): Promise<void> {
    const response = await this.#fetch("/version", {
      method: "GET",
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(timeoutMs),
    });
    const { major, minor } = await response.json() as { major?: string; minor?: string };
    // Some distributions say "28+".
    const [majorNumber, minorNumber] = [parseInt(major ?? ""), parseInt(minor ?? "")];
    if (Number.isNaN(majorNumber) || Number.isNaN(minorNumber)) {
      throw new Error(`status ${response.status} without a version`);
    }
    const isNative = majorNumber > 1 || minorNumber >= firstMinor;
    if (!isNative && this.#isNative === undefined) {
      this.#log.warn(
        "Kubernetes before 1.29 has no native sidecars; Jobs with an agent never end",
        {
          version: `${major}.${minor}`,
        },
      );
    }
    this.#isNative = isNative;
  }
}
