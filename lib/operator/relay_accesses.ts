/** How each tunnel reaches its relay's admin API: endpoint, token, certificates and proxy, as they are now. */
import type { KubeClient } from "../kube/client.ts";
import type { KubeObject } from "../kube/objects.ts";
import { configMaps, namespaces, secrets } from "../kube/resources.ts";
import { type CaRef, endpointOf, type RelayPlace, type TokenRef } from "./api/relay.ts";
import { no, type Verdict } from "./conditions.ts";
import { KeptTexts, type KeptTextsOptions } from "./kept_texts.ts";
import { ReferenceFault, References, relayProxyOf } from "./references.ts";
import type { RelayAccess } from "./relay_api.ts";
import { dataValue, secretText } from "./secret_text.ts";
import type { Tunnel } from "./tunnels.ts";

/** An access, and the owner of the entries that are written through it. */
export interface OwnedAccess {
  readonly access: RelayAccess;
  readonly owner: string;
}

/** An access, or why there is none. */
export type FoundAccess = OwnedAccess | { readonly fault: Verdict };

/** What accesses are read with. */
export interface RelayAccessesOptions extends KeptTextsOptions {
  /** Whether Tunnels or bindings of a namespace may still need its kept texts. */
  readonly isNeeded: (namespace: string) => boolean;
}

/** Reads Secrets and ConfigMaps by name; there is no right to list them. */
export class RelayAccesses {
  readonly #options: RelayAccessesOptions;
  readonly #client: KubeClient;
  readonly #kept: KeptTexts;
  /** What specs refer to, as it is now. */
  readonly references = new References((...from) => this.#texts(...from, "now"));
  /** The last access of each tunnel. */
  readonly #last = new Map<string, OwnedAccess>();
  /** By the tunnel's key and the endpoint: how it was reached when it was the tunnel's own. */
  readonly #former = new Map<string, OwnedAccess>();
  /** By the tunnel's key: its uid, and the owner of its entries. */
  readonly #owners = new Map<string, { uid: string | undefined; owner: string }>();

  /** Changes with {@link all}. */
  version = 0;

  constructor(options: RelayAccessesOptions) {
    this.#options = options;
    this.#client = options.client;
    this.#kept = new KeptTexts(options);
  }

  /** This replica begins to act. */
  begin(): void {
    this.#kept.reset();
  }

  /** The access of a tunnel that is registered through the API. */
  async find(tunnel: Tunnel): Promise<FoundAccess> {
    const api = tunnel.spec?.relay.registration.api;
    const last = this.#last.get(tunnel.key);
    const none = no("NoApi", "The tunnel is not registered through the admin API");
    if (!api) return last ?? { fault: none };
    const found = await this.#at(tunnel, api, tunnel.isDeleted ? "last" : "kept");
    if ("fault" in found) return found;
    this.#former.set(formerKey(tunnel.key, found.access), found);
    if (JSON.stringify(last) !== JSON.stringify(found)) this.version++;
    this.#last.set(tunnel.key, found);
    return found;
  }

  /**
   * The access to a former relay, with the credentials of that time: the Secret may have the new relay's
   * token by now.
   */
  async former(tunnel: Tunnel, place: RelayPlace): Promise<FoundAccess> {
    const known = this.#former.get(formerKey(tunnel.key, place));
    return known ?? await this.#at(tunnel, place, "last");
  }

  /** That access does not work any more. */
  forgetFormer(tunnelKey: string, place: Pick<RelayPlace, "endpoint">): void {
    this.#former.delete(formerKey(tunnelKey, place));
  }

  async #at(tunnel: Tunnel, place: RelayPlace, use: "kept" | "last"): Promise<FoundAccess> {
    const { home } = tunnel;
    const { tokenRef, caRef, clientCertRef, proxyRef } = place;
    const references = new References((...from) => this.#texts(...from, use));
    try {
      const token = await references.token(home, tokenRef);
      const caPem = caRef && await references.ca(home, caRef);
      const pair = clientCertRef && await references.clientCert(home, clientCertRef);
      const proxy = proxyRef && await references.proxy(home, proxyRef);
      return {
        access: {
          endpoint: endpointOf(place),
          token,
          ...caPem !== undefined && { caPem },
          ...pair && { pair },
          ...proxy && { proxy: relayProxyOf(proxy) },
        },
        owner: await this.ownerOf(tunnel),
      };
    } catch (error) {
      if (error instanceof ReferenceFault) return { fault: error.verdict };
      throw error;
    }
  }

  /** The access that a tunnel had, which need not be there any more. */
  last(tunnelKey: string): OwnedAccess | undefined {
    return this.#last.get(tunnelKey);
  }

  /** The accesses of all tunnels. */
  *all(): Generator<RelayAccess> {
    for (const { access } of this.#last.values()) yield access;
  }

  /** A tunnel is gone, and nothing of it is left at the relay. */
  forget(tunnelKey: string): void {
    this.version++;
    this.#last.delete(tunnelKey);
    this.#owners.delete(tunnelKey);
    for (const key of this.#former.keys()) {
      if (key.startsWith(`${tunnelKey} `)) this.#former.delete(key);
    }
  }

  /** A Tunnel or binding is gone: deletes the namespace's kept texts, unless others need them. */
  async release(namespace: string): Promise<void> {
    if (!this.#options.isNeeded(namespace)) await this.#kept.forget(namespace);
  }

  /** Deletes the kept texts of a namespace, even if something is left to clean up. */
  async forgetKept(namespace: string): Promise<void> {
    await this.#kept.forget(namespace);
  }

  /** Texts of a Secret, without white space at their ends; the last ones if the Secret is gone. */
  async lastTokens<Key extends string>(
    namespace: string,
    name: string,
    keys: readonly Key[],
  ): Promise<Partial<Record<Key, string>>> {
    return await this.#texts(namespace, { kind: "Secret", name }, keys, "last");
  }

  /**
   * Texts as they are now.
   *
   * @param use With `kept`, they are kept for clean-up; with `last`, those that were kept stand for
   *   what is gone, too.
   */
  async #texts<Key extends string>(
    namespace: string,
    from: Pick<CaRef, "kind" | "name">,
    keys: readonly Key[],
    use: "now" | "kept" | "last",
  ): Promise<Partial<Record<Key, string>>> {
    const { kind, name } = from;
    const object = await this.#find(namespace, from);
    if (!object && use !== "last") return {};
    const found: Partial<Record<Key, string>> = {};
    for (const key of keys) {
      const ref = { kind, name, key };
      const text = object ? textIn(object, ref) : await this.#kept.last(namespace, ref);
      if (object && use !== "now") await this.#kept.keep(namespace, ref, text);
      if (text !== undefined) found[key] = text;
    }
    return found;
  }

  async #find(
    namespace: string,
    { kind, name }: Pick<CaRef, "kind" | "name">,
  ): Promise<KubeObject | undefined> {
    const resource = kind === "Secret" ? secrets : configMaps;
    return await this.#client.find(resource, { namespace, name });
  }

  /** The text of a Secret's key, without white space at its ends. */
  async token(namespace: string, { name, key }: TokenRef): Promise<string | undefined> {
    return await this.text(namespace, { kind: "Secret", name, key });
  }

  /** The text of a key, without white space at its ends. */
  async text(namespace: string, ref: CaRef): Promise<string | undefined> {
    const object = await this.#find(namespace, ref);
    return object && textIn(object, ref);
  }

  /**
   * Who owns a tunnel's entries at the relay. A Tunnel that is made anew in the same namespace owns
   * what the one before it has left; one of the same name in another cluster does not.
   */
  async ownerOf({ key, object, home, resource, name }: Tunnel): Promise<string> {
    const { uid } = object.metadata;
    const known = this.#owners.get(key);
    if (known?.uid === uid && known) return known.owner;
    const { metadata } = await this.#client.get(namespaces, { name: home });
    const owner = `${metadata.uid}/${resource.kind}/${name}`;
    this.#owners.set(key, { uid, owner });
    return owner;
  }
}

function formerKey(tunnelKey: string, place: Pick<RelayPlace, "endpoint">): string {
  return `${tunnelKey} ${endpointOf(place)}`;
}

function textIn(object: KubeObject, { kind, key }: CaRef): string | undefined {
  const text = kind === "Secret" ? secretText(object, key) : dataValue(object, key);
  return text?.trim() || undefined;
}
