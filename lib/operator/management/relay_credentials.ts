/** How Argo CD and the operator verify the relay, and what they show to it: a Secret of the user's. */
import type { KubeClient } from "../../kube/client.ts";
import { secrets } from "../../kube/resources.ts";
import { no, type Verdict } from "../conditions.ts";
import { secretText } from "../secret_text.ts";

/** What Argo CD shows to the relay, and how it verifies it. */
export interface ArgocdCredentials {
  readonly ca?: string | undefined;
  readonly pair?: { readonly cert: string; readonly key: string } | undefined;
  readonly serverName?: string | undefined;
  readonly token?: string | undefined;
}

/** The Secret as it was read last. */
export class RelayCredentials {
  readonly #client: KubeClient;
  readonly #at: { readonly namespace: string; readonly name: string } | undefined;
  #known: ArgocdCredentials | undefined;

  /** @param name of the Secret; without one there is nothing to verify with or to show */
  constructor(client: KubeClient, namespace: string, name: string | undefined) {
    this.#client = client;
    this.#at = name === undefined ? undefined : { namespace, name };
  }

  /** Undefined while the Secret is missing. */
  get known(): ArgocdCredentials | undefined {
    return this.#at ? this.#known : {};
  }

  /** What a Cluster that needs the Secret is told while it is missing. */
  get missing(): Verdict {
    const { namespace = "", name = "" } = this.#at ?? {};
    return no("CredentialsMissing", `There is no Secret ${namespace}/${name}`);
  }

  /** Reads the Secret again. @returns whether it has changed */
  async refresh(): Promise<boolean> {
    if (!this.#at) return false;
    const secret = await this.#client.find(secrets, this.#at);
    const text = (key: string) => {
      const found = secretText(secret, key);
      return found?.trim() === "" ? undefined : found;
    };
    const [cert, key] = [text("tls.crt"), text("tls.key")];
    const before = JSON.stringify(this.#known);
    this.#known = secret && {
      ca: text("ca.crt"),
      ...cert !== undefined && key !== undefined && { pair: { cert, key } },
      serverName: text("serverName")?.trim(),
      token: text("token")?.trim(),
    };
    return before !== JSON.stringify(this.#known);
  }
}
