/** The HTTP proxy between the agent and its relay, as its file has it now. */
import type { AgentConfigSource } from "../../../agent/metrics.ts";
import type { AgentOptions } from "../../../config/agent_options.ts";
import { checkedProxy, formatProxy, type Proxy } from "../../../config/proxy.ts";
import { followConfig } from "../followed_config.ts";
import type { RelayAccessHost } from "./relay_token.ts";

/** The proxy of `--proxy`, of the environment, or of the file of `--proxy-file`. */
export class RelayProxy {
  readonly #file: AgentOptions["proxyFile"];
  #proxy: Proxy | undefined;

  constructor({ proxy, proxyFile }: Pick<AgentOptions, "proxy" | "proxyFile">) {
    this.#proxy = proxy;
    this.#file = proxyFile;
  }

  /** The proxy for a connection that is opened now; undefined is none. */
  get value(): Proxy | undefined {
    return this.#proxy;
  }

  /** Its URL for logs: without credentials. */
  get title(): string | undefined {
    return this.#proxy && formatProxy(this.#proxy);
  }

  /**
   * Has the agent connect through another proxy once the file names one. A session that is up stays,
   * since its connection works; an agent without a session tries again at once.
   */
  follow({ agent, metrics, log }: RelayAccessHost): void {
    const file = this.#file;
    if (!file) return;
    followConfig<AgentConfigSource>({
      source: "proxy",
      paths: [file.path],
      known: [file],
      apply: ([changed]) => {
        const origin = `Proxy file ${JSON.stringify(file.path)}: what was read`;
        this.#proxy = checkedProxy(changed?.text ?? "", origin);
        agent.hurry();
        return Promise.resolve({ proxy: this.title ?? "none" });
      },
      metrics,
      log,
    });
  }
}
