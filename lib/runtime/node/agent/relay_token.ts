/** The token that the agent shows to its relay, as its file has it now. */
import type { Agent } from "../../../agent/agent.ts";
import type { AgentConfigSource, AgentMetrics } from "../../../agent/metrics.ts";
import type { AgentOptions } from "../../../config/agent_options.ts";
import { checkedToken } from "../../../config/commands/access_options.ts";
import type { Log } from "../../../log.ts";
import { followConfig } from "../followed_config.ts";

/** Where a new token or proxy is used, and told of. */
export interface RelayAccessHost {
  readonly agent: Agent;
  readonly metrics: AgentMetrics;
  readonly log: Log;
}

/** The token of `--token`, or of the file of `--token-file`. */
export class RelayToken {
  readonly #file: AgentOptions["tokenFile"];
  #token: string;

  constructor({ token, tokenFile }: Pick<AgentOptions, "token" | "tokenFile">) {
    this.#token = token;
    this.#file = tokenFile;
  }

  /** The token for a connection that is opened now. */
  get value(): string {
    return this.#token;
  }

  /** Has the agent connect anew whenever the file holds another token. */
  follow({ agent, metrics, log }: RelayAccessHost): void {
    const file = this.#file;
    if (!file) return;
    followConfig<AgentConfigSource>({
      source: "token",
      paths: [file.path],
      known: [file],
      apply: ([changed]) => {
        const token = checkedToken(changed?.text ?? "", `Token file ${JSON.stringify(file.path)}`);
        const isNew = token !== this.#token;
        this.#token = token;
        if (isNew) agent.renewSessions();
        return Promise.resolve({});
      },
      metrics,
      log,
    });
  }
}
