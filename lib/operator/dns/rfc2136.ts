/** Records in a zone that takes dynamic updates (RFC 2136). Ownership is checked by prerequisites. */
import { messageOf } from "../../message_of.ts";
import { dataOf, encodeUpdate, type Prerequisite, txtData, types, type Update } from "./message.ts";
import { type DnsRecord, isName, namesBetween, type OldRecord, ownerName } from "./records.ts";
import { readAnswer, sign, type TsigKey } from "./tsig.ts";

/** Sends a message to a server by TCP, and returns its answer. @throws when there is none */
export type DnsExchange = (server: string, message: Uint8Array) => Promise<Uint8Array>;

/** Where a zone's updates go. */
export interface Zone {
  readonly name: string;
  /** `HOST:PORT` of the primary. */
  readonly server: string;
  readonly key: TsigKey;
}

/** What became of a record. */
export type DnsOutcome =
  | { readonly kind: "done" }
  /** Somebody else has the name. */
  | { readonly kind: "taken" }
  | { readonly kind: "refused"; readonly reason: string }
  | {
    readonly kind: "unreachable";
    readonly reason: string;
    /** It is known that asking again is of no use before. */
    readonly retryAfterMs?: number;
  };

/** Updates of zones. */
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

  /** Creates or changes a record if its name is free or has this owner. */
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
   * Takes a record away if it is this owner's. One that was changed to point elsewhere stays, and only
   * the claim to it goes.
   */
  async remove(zone: Zone, record: OldRecord, owner: string): Promise<DnsOutcome> {
    const own = ownerName(record.name);
    // It can't be there.
    if (!isName(own)) return { kind: "done" };
    const isOurs = { kind: "recordsAre", name: own, records: [txtData(owner)] } as const;
    const deleteOwner = { kind: "deleteType", name: own, type: types.TXT } as const;
    // What DNS can't hold was never made.
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

/** What became of an update; `code` is the server's answer, where it has refused. */
type Answered =
  | { readonly kind: "done" }
  | { readonly kind: "refused"; readonly reason: string; readonly code?: string }
  | { readonly kind: "unreachable"; readonly reason: string };

/** Whether a record that an update presupposes is not there. */
function isUnmet(answered: Answered): boolean {
  return answered.kind === "refused" && answered.code === "NXRRSET";
}

function delegated({ name }: Zone): DnsOutcome {
  const reason = `The zone ${name} delegates it to other name servers: set dns.zone to that zone`;
  return { kind: "refused", reason };
}

/** That nobody has a name. The apex of a zone always has records; it may have no address. */
function freePrerequisites(name: string, zone: string): readonly Prerequisite[] {
  const own = { kind: "nameFree", name: ownerName(name) } as const;
  if (name !== zone) return [{ kind: "nameFree", name }, own];
  const addresses = [types.A, types.AAAA].map((
    type,
  ) => ({ kind: "typeFree", name, type } as const));
  return [...addresses, own];
}

/** Whatever the name pointed at: a record of another type would stand beside the new one. */
function deleteAll(name: string) {
  return [types.A, types.AAAA, types.CNAME].map((type) =>
    ({ kind: "deleteType", name, type }) as const
  );
}
