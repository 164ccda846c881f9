from nvidia.dali import fn, pipeline_def

import dali_cr

index = dali_cr.scan("data/")
recipe = dali_cr.Restoration(crop=(16, 16, 16), swap=dali_cr.Swap(iterations=10, patch=(2, 4)))


@pipeline_def(batch_size=2, num_threads=2, device_id=None)
def mine():
    raw, records, swaps, sample = dali_cr.fn.read_samples(index, recipe, batch_size=2)
    target = dali_cr.fn.decode_volume(raw, records, recipe.crop)
    brighter = target * fn.random.uniform(range=(0.9, 1.1))
    return dali_cr.fn.swap_patches(brighter, swaps), target, sample


pipe = mine()
pipe.build()
input, target, sample = pipe.run()
