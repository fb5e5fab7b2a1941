/** Changes records by dynamic updates (RFC 2136), whose prerequisites check the owner. */
import { messageOf } from "../../message_of.ts";
import { dataOf, encodeUpdate, type Prerequisite, txtData, types, type Update } from "./message.ts";
import { type DnsRecord, isName, namesBetween, type OldRecord, ownerName } from "./records.ts";
import { readAnswer, sign, type TsigKey } from "./tsig.ts";

/** Sends a message to a server over TCP, and returns the answer. @throws if there is none */
export type DnsExchange = (server: string, message: Uint8Array) => Promise<Uint8Array>;

/** A zone, and the server and key for its updates. */
export interface Zone {
  readonly name: string;
  /** The primary server, as `HOST:PORT`. */
  readonly server: string;
  readonly key: TsigKey;
}

/** The outcome of a change of a record. */
export type DnsOutcome =
  | { readonly kind: "done" }
  /** Somebody else has the name. */
  | { readonly kind: "taken" }
  | { readonly kind: "refused"; readonly reason: string }
  | {
    readonly kind: "unreachable";
    readonly reason: string;
    /** How long the provider will refuse further requests, if that is known. */
    readonly retryAfterMs?: number;
  };

/** Sends updates to name servers. */
export class Rfc2136 {
  readonly #exchange: DnsExchange;
  readonly #mayWrite: () => void;
  readonly #nowMs: () => number;

  constructor(
    options: { exchange: DnsExchange; mayWrite?: () => void; nowMs?: () => number },
  ) {
    this.#exchange = options.exchange;
    this.#mayWrite = options.mayWrite ?? (() => {});
    this.#nowMs = options.nowMs ?? (() => Date.now());
  }

  /** Creates or changes a record, if its name is free or already has this owner. */
  async put(zone: Zone, record: DnsRecord, owner: string): Promise<DnsOutcome> {
    const owned = txtData(owner);
    const own = ownerName(record.name);
    const add = [
      { kind: "add", name: record.name, ttl: record.ttl, record: dataOf(record) },
      { kind: "add", name: own, ttl: record.ttl, record: owned },
    ] as const;
    const delegations = namesBetween(record.name, zone.name).map((name) => (
      { kind: "typeFree", name, type: types.NS } as const
    ));
    const first = await this.#update(zone, {
      zone: zone.name,
      prerequisites: [...delegations, ...freePrerequisites(record.name, zone.name)],
      changes: add,
    });
    const isApex = record.name === zone.name;
    if (first.kind === "refused" && first.code === "YXRRSET" && !isApex) return delegated(zone);
    if (first.kind !== "refused" || !/^YX/.test(first.code ?? "")) return first;
    const second = await this.#update(zone, {
      zone: zone.name,
      prerequisites: [{ kind: "recordsAre", name: own, records: [owned] }],
      changes: [...deleteAll(record.name), add[0]],
    });
    return isUnmet(second) ? { kind: "taken" } : second;
  }

  /**
   * Deletes a record and its owner's TXT record, if they have this owner. A record that points elsewhere
   * now stays, and only the TXT record goes.
   */
  async remove(zone: Zone, record: OldRecord, owner: string): Promise<DnsOutcome> {
    const own = ownerName(record.name);
    // A record with such a name was never made.
    if (!isName(own)) return { kind: "done" };
    const isOurs = { kind: "recordsAre", name: own, records: [txtData(owner)] } as const;
    const deleteOwner = { kind: "deleteType", name: own, type: types.TXT } as const;
    // Records with invalid targets were never made.
    const candidates = [record, ...record.former ?? []]
      .filter(({ type, target }) => type !== "CNAME" || isName(target));
    for (const { type, target } of candidates) {
      const data = dataOf({ type, target });
      const outcome = await this.#update(zone, {
        zone: zone.name,
        prerequisites: [isOurs, { kind: "recordsAre", name: record.name, records: [data] }],
        changes: [{ kind: "deleteType", name: record.name, type: data.type }, deleteOwner],
      });
      if (!isUnmet(outcome)) return outcome;
    }
    const last = await this.#update(zone, {
      zone: zone.name,
      prerequisites: [isOurs],
      changes: [deleteOwner],
    });
    return isUnmet(last) ? { kind: "done" } : last;
  }

  async #update({ server, key }: Zone, update: Update): Promise<Answered> {
    const id = crypto.getRandomValues(new Uint16Array(1))[0]!;
    try {
      const { message, mac } = await sign(encodeUpdate(id, update), key, this.#nowMs());
      this.#mayWrite();
      const answer = await this.#exchange(server, message);
      const { code, detail } = await readAnswer(answer, id, key, mac);
      if (code === "NOERROR") return { kind: "done" };
      const why = detail === undefined ? "" : ` (${detail})`;
      return { kind: "refused", code, reason: `The name server answered ${code}${why}` };
    } catch (error) {
      if (error instanceof RangeError) return { kind: "refused", reason: error.message };
      return { kind: "unreachable", reason: messageOf(error) };
    }
  }
}

/** The outcome of an update. If the server has refused it, `code` is its response code. */
type Answered =
  | { readonly kind: "done" }
  | { readonly kind: "refused"; readonly reason: string; readonly code?: string }
  | { readonly kind: "unreachable"; readonly reason: string };

/** Whether a record is missing that a prerequisite of the update asks for. */
function isUnmet(answered: Answered): boolean {
  return answered.kind === "refused" && answered.code === "NXRRSET";
}

function delegated({ name }: Zone): DnsOutcome {
  const reason = `The zone ${name} delegates it to other name servers: set dns.zone to that zone`;
  return { kind: "refused", reason };
}

/** The prerequisites for a free name. The apex always has records, so it only must have no address. */
function freePrerequisites(name: string, zone: string): readonly Prerequisite[] {
  const own = { kind: "nameFree", name: ownerName(name) } as const;
  if (name !== zone) return [{ kind: "nameFree", name }, own];
  const addresses = [types.A, types.AAAA].map((
    type,
  ) => ({ kind: "typeFree", name, type } as const));
  return [...addresses, own];
}

/** Deletes all that a name may point at. A record of another type would stay beside the new one. */
function deleteAll(name: string) {
  return [types.A, types.AAAA, types.CNAME].map((type) =>
    ({ kind: "deleteType", name, type }) as const
  );
}
