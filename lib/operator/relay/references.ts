/** Reads and checks the Secrets and ConfigMaps that a Tunnel's spec refers to. */
import { textOfBase64 } from "../../base64.ts";
import { checkedProxy, formatProxy, type Proxy } from "../../config/proxy.ts";
import { messageOf } from "../../message_of.ts";
import type { CaRef, ClientCertRef, ProxyRef, TokenRef } from "../api/relay.ts";
import { no, type Verdict } from "../conditions.ts";
import { bearerFault } from "../secret_text.ts";
import type { RelayProxy } from "./relay_api.ts";

/** A referenced object is missing or invalid. */
export class ReferenceFault extends Error {
  override readonly name = "ReferenceFault";
  readonly verdict: Verdict;

  constructor(reason: string, message: string) {
    super(message);
    this.verdict = no(reason, message);
  }
}

/** A certificate with its key, PEM. */
export interface CertificatePair {
  readonly cert: string;
  readonly key: string;
}

/**
 * Reads keys of a Secret or ConfigMap, without surrounding white space. Missing and empty keys are left
 * out.
 */
export type ReadTexts = <Key extends string>(
  namespace: string,
  from: Pick<CaRef, "kind" | "name">,
  keys: readonly Key[],
) => Promise<Partial<Record<Key, string>>>;

/** Reads them; there is no right to list Secrets. */
export class References {
  readonly #read: ReadTexts;

  constructor(read: ReadTexts) {
    this.#read = read;
  }

  /** A token. @throws {ReferenceFault} `TokenMissing`, `TokenInvalid`; the message has nothing of the text */
  async token(namespace: string, ref: TokenRef): Promise<string> {
    const text = await this.#text("TokenMissing", namespace, { kind: "Secret", ...ref });
    const fault = bearerFault(text, "spaced");
    if (fault === undefined) return text;
    const where = `Key ${ref.key} of Secret ${namespace}/${ref.name}`;
    throw new ReferenceFault("TokenInvalid", `${where}: the token ${fault}`);
  }

  /** CA certificates, PEM. @throws {ReferenceFault} `CaMissing` */
  async ca(namespace: string, ref: CaRef): Promise<string> {
    return await this.#text("CaMissing", namespace, ref);
  }

  /** @throws {ReferenceFault} `ClientCertMissing` */
  async clientCert(namespace: string, { name }: ClientCertRef): Promise<CertificatePair> {
    const from = { kind: "Secret", name } as const;
    const texts = await this.#read(namespace, from, ["tls.crt", "tls.key"]);
    const text = (key: "tls.crt" | "tls.key") =>
      texts[key] ?? missing("ClientCertMissing", namespace, { ...from, key });
    return { cert: text("tls.crt"), key: text("tls.key") };
  }

  /**
   * A proxy; undefined where the text is `none`, as the agent's option `--proxy-file` has it.
   *
   * @throws {ReferenceFault} `ProxyMissing`, `ProxyInvalid`; the message has nothing of the text
   */
  async proxy(namespace: string, ref: ProxyRef): Promise<Proxy | undefined> {
    const text = await this.#text("ProxyMissing", namespace, ref);
    const { kind, name, key } = ref;
    try {
      return checkedProxy(text, `${kind} ${namespace}/${name}: ${key}`);
    } catch (error) {
      throw new ReferenceFault("ProxyInvalid", messageOf(error));
    }
  }

  async #text(reason: string, namespace: string, ref: CaRef): Promise<string> {
    const { [ref.key]: text } = await this.#read(namespace, ref, [ref.key]);
    return text ?? missing(reason, namespace, ref);
  }
}

function missing(
  reason: string,
  namespace: string,
  { kind, name, key }: { readonly kind: string; readonly name: string; readonly key: string },
): never {
  const message = `There is no ${kind} ${namespace}/${name} with the key ${key}`;
  throw new ReferenceFault(reason, message);
}

/** A proxy as requests to the relay's admin API take it. */
export function relayProxyOf(proxy: Proxy): RelayProxy {
  const { authorization } = proxy;
  const url = formatProxy(proxy);
  if (authorization === undefined) return { url };
  const credentials = textOfBase64(authorization.slice("Basic ".length));
  const [username = "", ...password] = credentials.split(":");
  return { url, basicAuth: { username, password: password.join(":") } };
}
