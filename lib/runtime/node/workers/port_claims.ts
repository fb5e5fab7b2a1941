/** Ports that the system chooses for services: what the first worker gets, the others bind too. */

interface Claim {
  /** Who binds it first; undefined once it is known. */
  owner: object | undefined;
  port: number;
  readonly waiting: { readonly worker: object; readonly resolve: (port: number) => void }[];
}

/** Ports that are claimed, each by the name of what needs it. */
export class PortClaims {
  readonly #claims = new Map<string, Claim>();

  /** @returns the port that others have; 0 for a worker that is to find out, and says so with {@link claimed} */
  claim(name: string, worker: object): Promise<number> {
    const known = this.#claims.get(name);
    if (!known) {
      this.#claims.set(name, { owner: worker, port: 0, waiting: [] });
      return Promise.resolve(0);
    }
    if (known.owner === undefined || known.owner === worker) return Promise.resolve(known.port);
    const { promise, resolve } = Promise.withResolvers<number>();
    known.waiting.push({ worker, resolve });
    return promise;
  }

  /** The first worker has bound it; 0 if it could not. */
  claimed(name: string, port: number): void {
    const claim = this.#claims.get(name);
    if (!claim) return;
    claim.owner = undefined;
    claim.port = port;
    if (port !== 0) { for (const { resolve } of claim.waiting.splice(0)) resolve(port); }
    else this.#passOn(name, claim);
  }

  /** A worker has ended: another finds out in its place. */
  left(worker: object): void {
    for (const [name, claim] of this.#claims) {
      const index = claim.waiting.findIndex((waiting) => waiting.worker === worker);
      if (index !== -1) claim.waiting.splice(index, 1);
      if (claim.owner === worker) this.#passOn(name, claim);
    }
  }

  #passOn(name: string, claim: Claim): void {
    const next = claim.waiting.shift();
    if (!next) return void this.#claims.delete(name);
    claim.owner = next.worker;
    next.resolve(0);
  }
}
