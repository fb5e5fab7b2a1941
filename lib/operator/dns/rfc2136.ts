/** Records in a zone that takes dynamic updates (RFC 2136). Ownership is checked by prerequisites. */
import { messageOf } from "../../message_of.ts";
import {
  dataOf,
  encodeUpdate,
  rcodes,
  readAnswer,
  sign,
  type TsigKey,
  txtData,
  types,
  type Update,
} from "./message.ts";
import { type DnsRecord, type OldRecord, ownerName } from "./records.ts";

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
  | { readonly kind: "unreachable"; readonly reason: string };

const done: DnsOutcome = { kind: "done" };

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

  /** Makes a record what it should be, if the name is free or this owner's. */
  async put(zone: Zone, record: DnsRecord, owner: string): Promise<DnsOutcome> {
    const owned = txtData(owner);
    const own = ownerName(record.name);
    const add = [
      { kind: "add", name: record.name, ttl: record.ttl, record: dataOf(record) },
      { kind: "add", name: own, ttl: record.ttl, record: owned },
    ] as const;
    const first = await this.#update(zone, {
      zone: zone.name,
      prerequisites: [
        { kind: "nameFree", name: record.name },
        { kind: "nameFree", name: own },
      ],
      changes: add,
    });
    if (first !== "YXDOMAIN") return outcomeOf(first);
    const second = await this.#update(zone, {
      zone: zone.name,
      prerequisites: [{ kind: "recordsAre", name: own, records: [owned] }],
      changes: [...deleteAll(record.name), add[0]],
    });
    return second === "NXRRSET" ? { kind: "taken" } : outcomeOf(second);
  }

  /**
   * Takes a record away if it is this owner's. One that was changed to point elsewhere stays, and only
   * the claim to it goes.
   */
  async remove(zone: Zone, record: OldRecord, owner: string): Promise<DnsOutcome> {
    const own = ownerName(record.name);
    const isOurs = { kind: "recordsAre", name: own, records: [txtData(owner)] } as const;
    const deleteOwner = { kind: "deleteType", name: own, type: types.TXT } as const;
    for (const { type, target } of [record, ...record.former ?? []]) {
      const data = dataOf({ type, target });
      const code = await this.#update(zone, {
        zone: zone.name,
        prerequisites: [isOurs, { kind: "recordsAre", name: record.name, records: [data] }],
        changes: [{ kind: "deleteType", name: record.name, type: data.type }, deleteOwner],
      });
      if (code !== "NXRRSET") return outcomeOf(code);
    }
    const last = await this.#update(zone, {
      zone: zone.name,
      prerequisites: [isOurs],
      changes: [deleteOwner],
    });
    return last === "NXRRSET" ? done : outcomeOf(last);
  }

  /** The code of the server's answer, or why there is none. */
  async #update({ server, key }: Zone, update: Update): Promise<string> {
    const id = crypto.getRandomValues(new Uint16Array(1))[0]!;
    try {
      const { message, mac } = await sign(encodeUpdate(id, update), key, this.#nowMs());
      this.#mayWrite();
      const answer = await this.#exchange(server, message);
      const code = await readAnswer(answer, id, key, mac);
      return rcodes[code] ?? `code ${code}`;
    } catch (error) {
      if (error instanceof RangeError) return `refused: ${error.message}`;
      return `unreachable: ${messageOf(error)}`;
    }
  }
}

/** Whatever the name pointed at: a record of another type would stand beside the new one. */
function deleteAll(name: string) {
  return [types.A, types.AAAA, types.CNAME].map((type) =>
    ({ kind: "deleteType", name, type }) as const
  );
}

function outcomeOf(code: string): DnsOutcome {
  if (code === "NOERROR") return done;
  if (code.startsWith("unreachable: ")) {
    return { kind: "unreachable", reason: code.slice("unreachable: ".length) };
  }
  const reason = code.startsWith("refused: ")
    ? code.slice("refused: ".length)
    : `The name server answered ${code}`;
  return { kind: "refused", reason };
}
