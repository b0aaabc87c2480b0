import { nameFromGit, nameProblem } from '../core/name';
import type { Store } from '../core/state';
import { createWorkspace, ProblemError } from '../link/rest';
import { sentence } from './ask';
import { images } from './calls';
import { byId, el, setText } from './dom';

/** The form that makes a workspace. */
export class Create {
  private readonly dialog = byId<HTMLDialogElement>('create');
  private readonly form = byId<HTMLFormElement>('create-form');
  private readonly name = byId<HTMLInputElement>('create-name');
  private readonly git = byId<HTMLInputElement>('create-git');
  private readonly problem = byId<HTMLElement>('create-problem');
  private readonly submit = byId<HTMLButtonElement>('create-submit');
  private key = '';

  constructor(private readonly store: Store) {
    for (const b of document.querySelectorAll('[data-create]')) b.addEventListener('click', () => this.open());
    byId('create-cancel').addEventListener('click', () => this.dialog.close());
    this.name.addEventListener('input', () => this.check(false));
    this.git.addEventListener('change', () => {
      if (this.name.value === '') this.name.value = nameFromGit(this.git.value);
    });
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      void this.send();
    });
  }

  open(): void {
    this.key = randomKey();
    this.form.reset();
    setText(this.problem, '');
    this.dialog.showModal();
    this.name.focus();
    void this.offer();
  }

  /** Offers the images that the server has. */
  private async offer(): Promise<void> {
    const image = byId<HTMLSelectElement>('create-image');
    image.replaceChildren(el('option', { value: '', textContent: 'default' }));
    try {
      const names = (await images()).flatMap((i) => i.names ?? []).filter((n) => n !== 'default');
      image.append(...names.sort().map((n) => el('option', { value: n, textContent: n })));
    } catch {
      // The default will do; what is wrong shows when the workspace is made.
    }
  }

  /** What the form asks for beside the name. */
  private rest(): Omit<Parameters<typeof createWorkspace>[0], 'name'> {
    const text = (id: string): string => byId<HTMLInputElement | HTMLSelectElement>(id).value.trim();
    const size = (id: string): number => Math.round(Number(text(id)) * 2 ** 30);
    const limits = {
      ...(text('create-cpus') ? { cpus: Number(text('create-cpus')) } : {}),
      ...(text('create-memory') ? { memory_bytes: size('create-memory') } : {}),
      ...(text('create-disk') ? { disk_bytes: size('create-disk') } : {}),
    };
    return {
      ...(text('create-git') ? { git: text('create-git') } : {}),
      ...(text('create-image') ? { image: text('create-image') } : {}),
      ...(Object.keys(limits).length > 0 ? { limits } : {}),
      ...(text('create-idle') ? { idle_after_seconds: Number(text('create-idle')) * 60 } : {}),
      ...(text('create-egress') ? { egress: text('create-egress') } : {}),
    };
  }

  /** Reports whether the name will do; while the user types, an empty one is no mistake yet. */
  private check(complete: boolean): boolean {
    const name = this.name.value.trim();
    const problem = name === '' && !complete ? undefined : nameProblem(name);
    this.name.setAttribute('aria-invalid', String(problem !== undefined));
    setText(this.problem, problem ?? '');
    return problem === undefined;
  }

  private async send(): Promise<void> {
    if (!this.check(true)) {
      this.name.focus();
      return;
    }
    this.submit.disabled = true;
    try {
      const w = await createWorkspace({ name: this.name.value.trim(), ...this.rest() }, this.key);
      this.store.dispatch({ type: 'changed', workspace: w });
      this.dialog.close();
      location.hash = w.name;
    } catch (e) {
      this.key = randomKey();
      setText(this.problem, sentence((e as Error).message));
      if (e instanceof ProblemError && e.field === 'git') this.git.focus();
      else if (e instanceof ProblemError && e.field?.startsWith('limits')) {
        const box = this.form.querySelector('details');
        if (box) box.open = true;
      } else this.name.focus();
    } finally {
      this.submit.disabled = false;
    }
  }
}

/** crypto.randomUUID exists on https and localhost only. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}
