#!/bin/sh
# Makes the figures of docs/study.md: ./miniature/study.sh FOLDER. About 1.5 hours on two processor
# cores. Run again, it goes on where it was stopped.
set -e
D=${1:?the folder for pictures, stores and runs}
HERE=$(dirname "$0")
KINDS=sampled,image30,image60,roundtrip,swap,gaussian,unseen
FIVE=sampled,image60,roundtrip,swap,unseen
TRAIN="--train sampled --reals reals --classifier cocoop --epochs 15"

[ -f "$D/pictures/manifests/unseen.csv" ] || clare draw "$D/pictures" --mini --count 1000 --kinds $KINDS
extract() {
    clare extract --manifests "$D/pictures/manifests" --root "$D/pictures" --backbone mini "$@"
}

# LaRE by itself.
python "$HERE/study.py" "$D/pictures" "$HERE/study.json" --maps "$D/maps"

# Fusions, both trainings, and controls.
extract --subset reals,$KINDS --store "$D/features.zarr"
heads() {
    clare sweep --store "$D/features.zarr" $TRAIN --evaluate $FIVE,gaussian "$@"
}
both="--seeds 0-4 --vary scope=full,as-published"
heads --fusion cls,lare,concat,esa $both --out "$D/heads-1"
heads --fusion cross_attn --query mean $both --out "$D/heads-2"
heads --fusion cross_attn --query all $both --out "$D/heads-3"
heads --fusion cls,lare,concat,esa --shuffle-labels --seeds 0-19 --out "$D/controls-1"
heads --fusion cross_attn --query mean --shuffle-labels --seeds 0-19 --out "$D/controls-2"
heads --fusion cross_attn --query all --shuffle-labels --seeds 0-9 --out "$D/controls-3"
clare sweep --store "$D/features.zarr" --preset clare-published --train sampled --reals reals \
    --seeds 0-4 --evaluate $FIVE,gaussian --out "$D/published"
python "$HERE/compare_heads.py" "$D/published" --out "$HERE/published.json"
python "$HERE/compare_heads.py" "$D"/heads-? "$D"/controls-? --out "$HERE/heads.json"

# Steps, draws and noise of the map that heads read; then the same heads on other people, of whose
# pictures only the split test is wanted.
[ -f "$D/new/manifests/unseen.csv" ] || clare draw "$D/new" --mini --count 1000 --seed 1 --kinds $FIVE
mkdir -p "$D/new/test" "$D/others"
for list in "$D"/new/manifests/*.csv; do
    { head -n 1 "$list"; grep ",test," "$list"; } > "$D/new/test/$(basename "$list")"
done
for noise in image shared; do
    maps="--timesteps 50,200 --draws 4 --set lare.noise=$noise"
    extract --subset reals,$FIVE $maps --store "$D/choice-$noise.zarr"
    clare sweep --store "$D/choice-$noise.zarr" $TRAIN --seeds 0-4 --evaluate $FIVE \
        --fusion lare,concat --vary timestep=0,1 --vary draws=1,2,4 --out "$D/choice-$noise"
    clare extract --manifests "$D/new/test" --root "$D/new" --backbone mini $maps \
        --subset reals,$FIVE --store "$D/new-$noise.zarr"
    rm -rf "$D/others/choice-$noise"
    cp -r "$D/choice-$noise" "$D/others"
    clare evaluate "$D/others/choice-$noise"/*_seed-* --store "$D/new-$noise.zarr" --subset $FIVE
done
python "$HERE/compare_heads.py" "$D"/choice-image "$D"/choice-shared --out "$HERE/choice.json"
python "$HERE/compare_heads.py" "$D"/others/choice-* --out "$HERE/others.json"

python "$HERE/draw_study.py" "$HERE" "$HERE/../docs/study"
