/** How each tunnel reaches its relay's admin API: endpoint, token, certificates and proxy, as they are now. */
import { FairKeys } from "../../kube/fair_keys.ts";
import type { KubeClient } from "../../kube/client.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { configMaps, namespaces, secrets } from "../../kube/resources.ts";
import { type CaRef, endpointOf, type RelayPlace } from "../api/relay.ts";
import { no, type Verdict } from "../conditions.ts";
import { isKeptSecret, KeptTexts, type KeptTextsOptions } from "./kept_texts.ts";
import { ReferenceFault, References, relayProxyOf } from "./references.ts";
import { connectionKey, type RelayAccess } from "./relay_api.ts";
import { SharedTexts } from "./shared_texts.ts";
import { dataValue, secretText } from "../secret_text.ts";
import { ownerOfTunnel, type Tunnel } from "../tunnel.ts";

/** An access, and the owner of the entries that are written through it. */
export interface OwnedAccess {
  readonly access: RelayAccess;
  readonly owner: string;
  /** The version of the token's Secret; undefined if it is not known. */
  readonly tokenVersion: string | undefined;
}

/** An access, or why there is none. */
export type FoundAccess = OwnedAccess | { readonly fault: Verdict };

/** What accesses are read with. */
export interface RelayAccessesOptions extends KeptTextsOptions {
  /** Whether Tunnels or bindings of a namespace may still need its kept texts. */
  readonly isNeeded: (namespace: string) => boolean;
}

/**
 * The most characters of the CAs, certificates, keys, tokens and proxies by which one namespace's Tunnels
 * reach their relays. Two lists of all public CAs fit.
 */
const maxCharacters = 512 * 1024;

/** Reads Secrets and ConfigMaps by name; there is no right to list them. */
export class RelayAccesses {
  readonly #options: RelayAccessesOptions;
  readonly #client: KubeClient;
  readonly #kept: KeptTexts;
  readonly #texts = new SharedTexts(maxCharacters);
  /** What specs refer to, as it is now. */
  readonly references = new References(async (...from) => (await this.#read(...from, "now")).texts);
  /** The last access of each tunnel. */
  readonly #last = new Map<string, OwnedAccess>();
  /** How each former relay of a tunnel was reached, by the tunnel's key and the endpoint. */
  readonly #former = new Map<string, OwnedAccess>();
  /** Each tunnel's uid and the owner of its entries, by the tunnel's key. */
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
    const read = await this.#at(tunnel, api, tunnel.isDeleted ? "last" : "kept");
    if ("fault" in read) return read;
    this.#forgetFormer(tunnel, read.access);
    const access = this.#shared(tunnel.key, read.access);
    if (!access) return { fault: tooLarge(tunnel) };
    const found = { ...read, access };
    this.#former.set(formerKey(tunnel.key, access), found);
    if (!last || !isSame(last, found)) this.version++;
    this.#last.set(tunnel.key, found);
    return found;
  }

  /** The same access with the texts that other tunnels of the namespace have; undefined without room. */
  #shared(tunnelKey: string, access: RelayAccess): RelayAccess | undefined {
    const { token, caPem = "", pair = { cert: "", key: "" }, proxy } = access;
    const texts = [caPem, pair.cert, pair.key, token, JSON.stringify(proxy) ?? ""];
    const holder = formerKey(tunnelKey, access);
    const shared = this.#texts.hold(ownerOfTunnel(tunnelKey), holder, texts);
    if (!shared) return undefined;
    const [ca = "", cert = "", key = ""] = shared;
    return {
      ...access,
      ...access.caPem !== undefined && { caPem: ca },
      ...access.pair && { pair: { cert, key } },
    };
  }

  /** Forgets how relays were reached that the tunnel has left. @param now Where it is registered now. */
  #forgetFormer({ key, status: { place, formerRelays = [] } }: Tunnel, now: RelayAccess): void {
    const places = [...formerRelays, ...place ? [place] : [], now];
    const needed = new Set(places.map((it) => formerKey(key, it)));
    for (const known of this.#formerKeys(key)) if (!needed.has(known)) this.#drop(key, known);
  }

  #formerKeys(tunnelKey: string): readonly string[] {
    return [...this.#former.keys()].filter((key) => key.startsWith(`${tunnelKey} `));
  }

  #drop(tunnelKey: string, former: string): void {
    this.#former.delete(former);
    this.#texts.release(ownerOfTunnel(tunnelKey), former);
  }

  /**
   * The access to a former relay, with the credentials of that time. If the Secret has changed since,
   * there is none: it may have the new relay's token, which is not for the former relay to see.
   */
  async former(tunnel: Tunnel, place: RelayPlace): Promise<FoundAccess> {
    const known = this.#former.get(formerKey(tunnel.key, place));
    if (known) return known;
    const found = await this.#at(tunnel, place, "last");
    if ("fault" in found) return found;
    const { tokenVersion } = place;
    if (tokenVersion !== undefined && tokenVersion === found.tokenVersion) return found;
    const secret = `${tunnel.home}/${place.tokenRef.name}`;
    const message = `Secret ${secret} has changed since; its token is not sent there`;
    return { fault: no("TokenChanged", message) };
  }

  async #at(tunnel: Tunnel, place: RelayPlace, use: "kept" | "last"): Promise<FoundAccess> {
    const { home } = tunnel;
    const { tokenRef, caRef, clientCertRef, proxyRef } = place;
    let tokenVersion: string | undefined;
    const references = new References(async (...from) => {
      const { texts, version } = await this.#read(...from, use);
      // The token is read first.
      tokenVersion ??= version;
      return texts;
    });
    try {
      const token = await references.token(home, tokenRef);
      const caPem = caRef && await references.ca(home, caRef);
      const pair = clientCertRef && await references.clientCert(home, clientCertRef);
      const proxy = proxyRef && await references.proxy(home, proxyRef);
      const access = {
        endpoint: endpointOf(place),
        token,
        ...caPem !== undefined && { caPem },
        ...pair && { pair },
        ...proxy && { proxy: relayProxyOf(proxy) },
      };
      // CAs may be long, and keys are kept in many places.
      const connection = this.#options.digest(connectionKey(access));
      return {
        access: { ...access, connection },
        owner: await this.ownerOf(tunnel),
        tokenVersion,
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

  /** The accesses of all tunnels; namespaces take turns. */
  *all(): Generator<RelayAccess> {
    const turns = new FairKeys({ groupOf: ownerOfTunnel, maxPerGroup: Infinity });
    for (const key of this.#last.keys()) turns.add(key);
    for (let key = turns.take(); key !== undefined; key = turns.take()) {
      yield this.#last.get(key)!.access;
    }
  }

  /** A tunnel is gone, and nothing of it is left at the relay. */
  forget(tunnelKey: string): void {
    this.version++;
    this.#last.delete(tunnelKey);
    this.#owners.delete(tunnelKey);
    for (const former of this.#formerKeys(tunnelKey)) this.#drop(tunnelKey, former);
  }

  /** Forgets tunnels that nobody needs any more: some go without their clean-up. */
  keepOnly(isNeeded: (tunnelKey: string) => boolean): void {
    for (const key of new Set([...this.#last.keys(), ...this.#owners.keys()])) {
      if (!isNeeded(key)) this.forget(key);
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
    return (await this.#read(namespace, { kind: "Secret", name }, keys, "last")).texts;
  }

  /**
   * Texts as they are now.
   *
   * @param use With `kept`, they are kept for clean-up; with `last`, those that were kept stand for
   *   what is gone, too.
   */
  async #read<Key extends string>(
    namespace: string,
    from: Pick<CaRef, "kind" | "name">,
    keys: readonly Key[],
    use: "now" | "kept" | "last",
  ): Promise<VersionedTexts<Key>> {
    const { kind, name } = from;
    const object = await this.#find(namespace, from);
    if (!object && use !== "last") return { texts: {}, version: undefined };
    const texts = new Map<string, string | undefined>();
    for (const key of [...keys, versionKey]) {
      const ref = { kind, name, key };
      texts.set(key, object ? textIn(object, ref) : await this.#kept.last(namespace, ref));
    }
    if (object && use !== "now") await this.#kept.keep(namespace, { kind, name }, texts);
    const found: Partial<Record<Key, string>> = {};
    for (const key of keys) {
      const text = texts.get(key);
      if (text !== undefined) found[key] = text;
    }
    return { texts: found, version: texts.get(versionKey) };
  }

  async #find(
    namespace: string,
    { kind, name }: Pick<CaRef, "kind" | "name">,
  ): Promise<KubeObject | undefined> {
    // Other namespaces' credentials: for specs in the operator's namespace they are not there.
    if (kind === "Secret" && isKeptSecret(name)) return undefined;
    const resource = kind === "Secret" ? secrets : configMaps;
    return await this.#client.find(resource, { namespace, name });
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

function tooLarge({ key }: Tunnel): Verdict {
  const message =
    `What Tunnels of ${ownerOfTunnel(key)} name for their relays' admin APIs has more ` +
    `than ${maxCharacters} characters together`;
  return no("CredentialsTooLarge", message);
}

function isSame(one: OwnedAccess, other: OwnedAccess): boolean {
  return one.owner === other.owner && one.tokenVersion === other.tokenVersion &&
    one.access.token === other.access.token &&
    connectionKey(one.access) === connectionKey(other.access);
}

function formerKey(tunnelKey: string, place: Pick<RelayPlace, "endpoint">): string {
  return `${tunnelKey} ${endpointOf(place)}`;
}

/** Stands for the version of an object; no key of `data` has a space. */
const versionKey = "its version";

/** Texts of one object, and its version when they were read. */
interface VersionedTexts<Key extends string> {
  readonly texts: Partial<Record<Key, string>>;
  readonly version: string | undefined;
}

function textIn(object: KubeObject, { kind, key }: CaRef): string | undefined {
  const { uid, resourceVersion } = object.metadata;
  if (key === versionKey) return `${uid}/${resourceVersion}`;
  const text = kind === "Secret" ? secretText(object, key) : dataValue(object, key);
  return text?.trim() || undefined;
}
