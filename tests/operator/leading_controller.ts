/** A controller that leads, gives leadership up and takes it again, as its replica would have it do. */
import type { Controller } from "../../lib/operator/controller.ts";

/** Runs a controller, which leads from the start. Disposing of it stops it. */
export class LeadingController implements AsyncDisposable {
  readonly #controller: Controller;
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;
  #term = new AbortController();
  #acting: Promise<void> = Promise.resolve();

  constructor(controller: Controller) {
    this.#controller = controller;
    this.#watching = controller.watch(this.#stop.signal);
    this.lead();
  }

  readonly lead = (): void => {
    this.#term = new AbortController();
    this.#acting = this.#controller.act(AbortSignal.any([this.#stop.signal, this.#term.signal]));
  };

  /** Resolves when it has ended what it was doing. */
  readonly resign = async (): Promise<void> => {
    this.#term.abort();
    await this.#acting;
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.#watching, this.#acting]);
  }
}
